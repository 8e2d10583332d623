//! On a clock that tests turn: what is asked for when, who waits for what, and what is told.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::Value;
use tokio::time::{advance, sleep};

use super::*;
use crate::arn::Partitions;
use crate::logged;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The clock of a device, which goes with the runtime's and can be set.
#[derive(Clone)]
struct Wall {
    start: Instant,
    set_s: Arc<AtomicU64>,
}

impl Wall {
    fn new() -> Self {
        let set_s = Arc::new(AtomicU64::new(1_795_305_600));
        let start = Instant::now();
        Wall { start, set_s }
    }

    fn now(&self) -> SystemTime {
        let set = Duration::from_secs(self.set_s.load(Ordering::SeqCst));
        SystemTime::UNIX_EPOCH + set + self.start.elapsed()
    }
}

/// Gives credentials that are numbered.
#[derive(Clone)]
struct Provider {
    wall: Wall,
    asked: Arc<AtomicUsize>,
    /// How long they hold, in seconds; 0: without an end.
    lifetime_s: Arc<AtomicU64>,
    fails: Arc<AtomicUsize>,
    /// How long an answer takes.
    takes: Duration,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(self.takes).await;
            if self.fails.load(Ordering::SeqCst) > 0 {
                let error = ServiceError::new("IotUnreachable", format!("no way out, {number}"));
                return Err(CredentialsError::provider_error(Unavailable(error)));
            }
            let lifetime = self.lifetime_s.load(Ordering::SeqCst);
            let end = (lifetime > 0).then(|| self.wall.now() + Duration::from_secs(lifetime));
            Ok(Credentials::new(number.to_string(), "s", None, end, "test"))
        })
    }
}

impl Provider {
    fn new(wall: &Wall, lifetime: Duration) -> Self {
        Provider {
            wall: wall.clone(),
            asked: Arc::default(),
            lifetime_s: Arc::new(AtomicU64::new(lifetime.as_secs())),
            fails: Arc::default(),
            takes: Duration::from_millis(100),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn set_fails(&self, fails: bool) {
        self.fails.store(usize::from(fails), Ordering::SeqCst);
    }

    fn keeper(&self) -> Keeper {
        let wall = self.wall.clone();
        let clock = Arc::new(move || wall.now());
        Keeper::with_clock(SharedCredentialsProvider::new(self.clone()), clock)
    }
}

/// A provider of credentials that hold for so long, and who keeps them.
fn kept(lifetime: Duration) -> (Provider, Keeper) {
    let provider = Provider::new(&Wall::new(), lifetime);
    let keeper = provider.keeper();
    (provider, keeper)
}

/// The stream of this name.
fn stream(name: &str) -> DeliveryStreamArn {
    let arn = format!("arn:aws:firehose:eu-west-1:123456789012:deliverystream/{name}");
    DeliveryStreamArn::parse(&arn, &Partitions::default()).unwrap()
}

/// A call for the stream of this name that begins and is refused now.
fn refused(keeper: &Keeper, name: &str) {
    keeper.refused(&stream(name), Instant::now());
}

/// One that is answered.
fn taken(keeper: &Keeper, name: &str) {
    keeper.taken(&stream(name), Instant::now());
}

async fn held(keeper: &Keeper) -> Result<String, String> {
    let found = keeper.credentials().await;
    found
        .map(|found| found.access_key_id().to_owned())
        .map_err(|error| error.to_string())
}

/// Lets the time pass in steps, so that whatever is due in between happens then.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_that_nobody_wants() {
    let (provider, keeper) = kept(HOUR);
    pass(2 * HOUR).await;
    assert_eq!((provider.asked(), keeper.expire()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn all_who_want_some_share_an_attempt_and_nobody_who_gives_up_ends_it() {
    let (provider, keeper) = kept(HOUR);
    let impatient = timeout(Duration::from_millis(50), keeper.credentials());
    let many = futures_util::future::join_all((0..100).map(|_| held(&keeper)));
    let (impatient, many) = tokio::join!(impatient, many);
    assert!(impatient.is_err());
    assert!(many.into_iter().all(|found| found.as_deref() == Ok("1")));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn they_are_renewed_ahead_of_their_end_though_nobody_asks() {
    let (provider, keeper) = kept(HOUR);
    held(&keeper).await.unwrap();
    let mut seen = provider.asked();
    for _ in 0..10 * 60 {
        let end = keeper.expire().unwrap();
        pass(MINUTE).await;
        let left = keeper.expire().unwrap().duration_since(provider.wall.now());
        assert!(left.unwrap() > 7 * MINUTE);
        if provider.asked() > seen {
            seen = provider.asked();
            // Less the minute that has just passed.
            let ahead = end.duration_since(provider.wall.now()).unwrap();
            assert!(ahead > 6 * MINUTE && ahead < 15 * MINUTE, "{ahead:?}");
        }
    }
    // Ten hours, of which each renewal takes between 45 and 53 minutes.
    assert!((12..=14).contains(&seen), "{seen}");
}

#[test]
fn renewals_of_devices_drift_apart() {
    let renewed = |left: Duration| [0.0, 1.0].map(|jitter| renewal_in(Some(left), jitter));
    let seconds = Duration::from_secs;
    assert_eq!(renewed(HOUR), [45 * MINUTE, seconds(3150)]);
    assert_eq!(renewed(12 * HOUR), [seconds(42_300), seconds(42_750)]);
    assert_eq!(
        renewed(seconds(900)),
        [seconds(675), Duration::from_millis(787_500)]
    );
    assert_eq!(renewed(seconds(1)), [LEAST, LEAST]);
    assert_eq!(
        [0.0, 1.0].map(|jitter| wait_after(3, jitter)),
        [seconds(4), seconds(2)]
    );
    assert_eq!(wait_after(u32::MAX, 0.0), LONGEST_WAIT);
}

#[tokio::test(start_paused = true)]
async fn those_without_an_end_are_looked_for_again_too() {
    let (provider, keeper) = kept(Duration::ZERO);
    assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
    assert_eq!(keeper.expire(), None);
    pass(HOUR).await;
    assert_eq!(provider.asked(), 12);
    assert_eq!(held(&keeper).await.as_deref(), Ok("12"));
}

/// The lines that are logged on a clock that tests turn.
fn logged(run: impl Future<Output = ()>) -> Vec<Value> {
    logged::lines(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build();
        runtime.unwrap().block_on(run);
    })
}

#[test]
fn what_is_held_is_used_to_its_end_while_renewal_fails_and_that_is_told_once() {
    let lines = logged(async {
        let (provider, keeper) = kept(HOUR);
        assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
        provider.set_fails(true);
        pass(HOUR - 2 * MINUTE).await;
        let failed = provider.asked() - 1;
        assert!(failed > 4, "{failed}");
        assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
        pass(3 * MINUTE).await;
        let error = held(&keeper).await.unwrap_err();
        assert!(error.contains("IotUnreachable: no way out"), "{error}");

        // No loop, however many want some.
        let before = provider.asked();
        for _ in 0..60 {
            assert!(held(&keeper).await.is_err());
            pass(MINUTE).await;
        }
        let attempts = provider.asked() - before;
        assert!((60..=120).contains(&attempts), "{attempts}");

        provider.set_fails(false);
        pass(2 * MINUTE).await;
        assert!(held(&keeper).await.is_ok());
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(lines[0]["error.code"], "IotUnreachable");
    let said = lines[0]["message"].as_str().unwrap();
    assert!(said.contains("cannot be renewed"), "{said}");
    assert!(
        lines[0]["ends"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-22T01:00")
    );
    assert_eq!(lines[1]["level"], "INFO");
    let said = lines[1]["message"].as_str().unwrap();
    assert!(said.contains("renewed again"), "{said}");
    assert!(lines[1]["failing_s"].as_u64() > Some(3600), "{lines:?}");
}

#[test]
fn where_there_are_none_at_first_whoever_wants_some_tells_it_and_the_end_is_told_here() {
    let lines = logged(async {
        let (provider, keeper) = kept(HOUR);
        provider.set_fails(true);
        assert!(held(&keeper).await.is_err());
        pass(10 * MINUTE).await;
        provider.set_fails(false);
        pass(2 * MINUTE).await;
        assert!(held(&keeper).await.is_ok());
    });
    let said: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(said, ["AWS credentials are found"]);
}

#[test]
fn what_fails_for_those_that_are_refused_is_told_as_that() {
    let lines = logged(async {
        let (provider, keeper) = kept(HOUR);
        assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
        pass(10 * MINUTE).await;
        provider.set_fails(true);
        refused(&keeper, "only");
        pass(10 * MINUTE).await;
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let said = lines[0]["message"].as_str().unwrap();
    assert!(said.contains("are refused and cannot be renewed"), "{said}");
}

#[test]
fn what_fails_after_their_end_is_told_as_that() {
    let lines = logged(async {
        let (provider, keeper) = kept(HOUR);
        assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
        provider.set_fails(true);
        provider.wall.set_s.fetch_add(2 * 3600, Ordering::SeqCst);
        assert!(held(&keeper).await.is_err());
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    let said = lines[0]["message"].as_str().unwrap();
    assert!(said.contains("have ended and cannot be renewed"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_given_up() {
    let provider = Provider {
        takes: HOUR,
        ..Provider::new(&Wall::new(), HOUR)
    };
    let keeper = provider.keeper();
    let began = Instant::now();
    let error = held(&keeper).await.unwrap_err();
    assert!(error.contains("timed out after 20 seconds"), "{error}");
    assert_eq!(began.elapsed(), ATTEMPT_MAX);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_refuses_is_asked_for_anew() {
    let (provider, keeper) = kept(HOUR);
    let before = Instant::now();
    assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
    // A call that began before these were found had others.
    keeper.refused(&stream("only"), before);
    pass(MINUTE).await;
    assert_eq!(held(&keeper).await.as_deref(), Ok("1"));

    pass(10 * MINUTE).await;
    refused(&keeper, "only");
    refused(&keeper, "only");
    pass(Duration::from_secs(1)).await;
    assert_eq!(held(&keeper).await.as_deref(), Ok("2"));
    assert_eq!(provider.asked(), 2);

    // These are refused too: there are no others for a while, and nobody is kept waiting for them.
    for _ in 0..100 {
        sleep(Duration::from_millis(10)).await;
        refused(&keeper, "only");
        assert_eq!(held(&keeper).await.as_deref(), Ok("2"));
    }
    for _ in 0..600 {
        refused(&keeper, "only");
        pass(Duration::from_secs(1)).await;
    }
    let attempts = provider.asked();
    assert!((15..=22).contains(&attempts), "every 30 s: {attempts}");
}

#[tokio::test(start_paused = true)]
async fn those_that_are_refused_serve_others_while_an_attempt_is_under_way_or_fails() {
    let provider = Provider {
        takes: Duration::from_secs(15),
        ..Provider::new(&Wall::new(), HOUR)
    };
    let keeper = provider.keeper();
    assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
    pass(10 * MINUTE).await;
    provider.set_fails(true);
    refused(&keeper, "elsewhere");
    for _ in 0..20 * 60 {
        let asked = Instant::now();
        assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
        assert_eq!(asked.elapsed(), Duration::ZERO, "nobody waits");
        refused(&keeper, "elsewhere");
        pass(Duration::from_secs(1)).await;
    }
    let attempts = provider.asked();
    assert!((15..=40).contains(&attempts), "{attempts}");

    // To their end, and no longer.
    pass(35 * MINUTE).await;
    assert!(held(&keeper).await.is_err());
    provider.set_fails(false);
    pass(2 * MINUTE).await;
    assert!(held(&keeper).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_always_refused_while_another_is_not_has_them_renewed_seldom() {
    let (provider, keeper) = kept(12 * HOUR);
    held(&keeper).await.unwrap();
    taken(&keeper, "well");
    // The other one rests for as long as it likes.
    for _ in 0..60 * 60 {
        refused(&keeper, "elsewhere");
        pass(Duration::from_secs(1)).await;
    }
    let attempts = provider.asked();
    assert!((10..=13).contains(&attempts), "every 5 min: {attempts}");
}

#[tokio::test(start_paused = true)]
async fn those_that_are_withdrawn_are_renewed_at_once_whichever_stream_was_refused_before() {
    let (provider, keeper) = kept(12 * HOUR);
    held(&keeper).await.unwrap();
    taken(&keeper, "first");
    taken(&keeper, "second");
    pass(2 * MINUTE).await;
    refused(&keeper, "elsewhere");
    pass(MINUTE).await;
    assert_eq!(provider.asked(), 1);
    // It was not refused before.
    refused(&keeper, "second");
    pass(Duration::from_secs(1)).await;
    assert_eq!(held(&keeper).await.as_deref(), Ok("2"));
    // The new ones are refused where they were: those are the ones to look for, for as long as nobody is served.
    refused(&keeper, "first");
    pass(MINUTE).await;
    refused(&keeper, "second");
    pass(MINUTE).await;
    assert_eq!(provider.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_with_others_was_told_says_nothing_of_these() {
    let (provider, keeper) = kept(12 * HOUR);
    let before = Instant::now();
    held(&keeper).await.unwrap();
    keeper.taken(&stream("first"), before);
    pass(MINUTE).await;
    // Nobody is known to be served.
    refused(&keeper, "elsewhere");
    pass(Duration::from_secs(1)).await;
    assert_eq!(provider.asked(), 2);
}

#[test]
fn streams_that_are_served_are_remembered_up_to_a_number() {
    let mut held = Held {
        found_at: Some(Instant::now()),
        ..Held::default()
    };
    for number in 0..10 * SERVED_MAX {
        held.take(&stream(&number.to_string()), Instant::now());
        assert!(held.served.len() <= SERVED_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_them_where_they_have_ended() {
    let (provider, keeper) = kept(HOUR);
    assert_eq!(held(&keeper).await.as_deref(), Ok("1"));
    provider.wall.set_s.fetch_add(2 * 3600, Ordering::SeqCst);
    assert_eq!(held(&keeper).await.as_deref(), Ok("2"));
    // And so does one that stood still, without anybody asking.
    provider.wall.set_s.fetch_add(2 * 3600, Ordering::SeqCst);
    pass(SLEEP_MAX + MINUTE).await;
    assert_eq!(provider.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn whether_what_was_just_found_has_ended_is_for_the_service_to_say() {
    let (provider, keeper) = kept(HOUR);
    let ahead = Arc::new(move || provider.wall.now() + 5 * HOUR);
    let provider = Provider::new(&Wall::new(), HOUR);
    let ahead = Keeper::with_clock(SharedCredentialsProvider::new(provider.clone()), ahead);
    drop(keeper);
    assert_eq!(held(&ahead).await.as_deref(), Ok("1"));
    assert_eq!(held(&ahead).await.as_deref(), Ok("1"));
    pass(10 * MINUTE).await;
    assert!((9..=11).contains(&provider.asked()), "{}", provider.asked());
    assert!(held(&ahead).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_owner() {
    let (provider, keeper) = kept(HOUR);
    let left_behind = keeper.provider();
    held(&keeper).await.unwrap();
    drop(keeper);
    pass(3 * HOUR).await;
    assert_eq!(provider.asked(), 1);
    let error = left_behind.provide_credentials().await.unwrap_err();
    assert_eq!(no_credentials(&error).code, "NoCredentials");
    advance(Duration::ZERO).await;
}
