//! One run of a world: apps publish, things break, the connector starts and ends again and again; then faults are
//! over, all is delivered, and the last stop leaves nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use kinesis_edge::blocking::Blocking;
use kinesis_edge::connector::{Connector, Leftover, Surroundings};
use kinesis_edge::dead_letters::DeadLetters;
use kinesis_edge::parameters::Parameters;
use kinesis_edge::telemetry::ServiceManager;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::common::parameters;
use crate::disk::Disk;
use crate::endpoint::Endpoint;
use crate::line::{SimulatedNetwork, some_of};
use crate::plan::{DiskFault, End, EndPlan, Plan, at};
use crate::storage::{Storage, be_faulty};
use crate::world::{Life, World};

/// When every world begins: in 2027.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

/// How long nothing has to happen until nothing more will: records on their way to the disk are held by nobody yet.
const QUIET: Duration = Duration::from_secs(5);

/// What a stop may take beyond its time: the queue's end, letters, the last statuses, the goodbye.
const TO_STOP: Duration = Duration::from_secs(15);

/// How much later than its interval a record of a stream may arrive that is well, whatever the others are like.
const WELL: Duration = Duration::from_millis(1500);

thread_local! {
    /// What panicked on this thread.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes panics, which tasks would swallow.
pub fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
        before(panic);
    }));
}

/// What a run that went well was like.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Differs where anything happened differently.
    pub fingerprint: u64,
    /// What happened how often.
    pub counts: BTreeMap<String, usize>,
}

/// Lives through the world of a seed.
///
/// # Errors
/// Says what was wrong.
pub fn run(seed: u64, is_told: bool) -> Result<Report, String> {
    fastrand::seed(seed);
    PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let world = runtime.block_on(async {
        let world = Arc::new(World::new(Plan::of(seed), is_told));
        tokio::select! {
            biased;
            () = world.alarm.notified() => {}
            () = live_through(&world) => {}
        }
        world
    });
    drop(runtime);
    let panic = PANICS.take().into_iter().next();
    match panic.or_else(|| world.what_is_wrong()) {
        Some(wrong) => Err(wrong),
        None => Ok(world.report()),
    }
}

async fn live_through(world: &Arc<World>) {
    world.say(format_args!("{:?}", world.plan.given));
    let queue = Disk::default();
    be_faulty(&queue, world);
    let apps = tokio::spawn(publish(Arc::clone(world)));
    let troubles = tokio::spawn(trouble(Arc::clone(world)));
    let mut kept = None;
    for (number, end) in world.plan.ends.iter().enumerate() {
        readable(world).await;
        let run = Run::start(world, number, Some(end), &queue, kept);
        kept = run.until(end).await;
        world.say(format_args!("run {number} has ended"));
        sleep(end.away).await;
    }
    let number = world.plan.ends.len();
    readable(world).await;
    let run = Run::start(world, number, None, &queue, kept);
    sleep_until(world.start + world.plan.active).await;
    world.calm_down();
    // Apps wait for a broker that is down; now it is up.
    apps.await.expect("apps do not fail");
    troubles.await.expect("trouble ends");
    run.deliver_all(world).await;
    let (leftover, _) = run.stop(world).await;
    if !leftover.is_nothing() || leftover.kept > 0 {
        world.wrong(format_args!("the last stop left {leftover:?}"));
    }
    world.book().untold += leftover.dropped_statuses;
    let closed = world.book().close(&world.plan, world.crashes());
    if let Err(wrong) = closed {
        world.wrong(format_args!("{wrong}"));
    }
    if world.plan.is_about_isolation {
        check_isolation(world);
    }
}

/// Waits until the disk can be read: a start leaves alone what it cannot read, for the next start.
async fn readable(world: &World) {
    while let Some(DiskFault::Read) = at(&world.plan.disk, world.start.elapsed()) {
        sleep(Duration::from_millis(100)).await;
    }
}

async fn publish(world: Arc<World>) {
    for (number, request) in world.plan.requests.iter().enumerate() {
        sleep_until(world.start + request.at).await;
        while !world.broker.publish(&world, number) {
            sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn trouble(world: Arc<World>) {
    for (number, trouble) in world.broker.plan.troubles.iter().enumerate() {
        sleep_until(world.start + trouble.at).await;
        world.broker.begin_trouble(&world, number);
    }
}

/// A run of the connector.
struct Run {
    life: Arc<Life>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Leftover>,
    auditor: tokio::task::JoinHandle<()>,
    queue: Disk,
    world: Arc<World>,
}

fn configured(plan: &Plan) -> Parameters {
    let given: Vec<_> = plan
        .given
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut parameters = parameters(&given);
    if let Some(queue_size) = plan.queue_size {
        parameters.queue_size = queue_size;
    }
    parameters
}

impl Run {
    /// Starts one, with a queue that keeps so many records if that is known.
    fn start(
        world: &Arc<World>,
        number: usize,
        end: Option<&EndPlan>,
        queue: &Disk,
        kept: Option<usize>,
    ) -> Self {
        world.say(format_args!("run {number} starts"));
        let life = Arc::new(Life::new(number));
        let storage = |disk: &Disk, killed_at| Storage {
            disk: disk.clone(),
            life: Arc::clone(&life),
            world: Arc::clone(world),
            killed_at,
        };
        let parameters = configured(&world.plan);
        let files = storage(queue, end.and_then(|end| end.how.at_operation()));
        let letters = storage(&world.letters, None);
        let dead_letters = world.plan.dead_letters.then(|| {
            DeadLetters::with_files(Box::new(letters), parameters.dead_letter_max_bytes)
                .expect("they can be listed")
        });
        let slow = Arc::clone(world);
        let surroundings = Surroundings {
            destination: Endpoint {
                world: Arc::clone(world),
                life: Arc::clone(&life),
                calls: Arc::new(AtomicUsize::new(0)),
            },
            dial: Arc::new(SimulatedNetwork {
                world: Arc::clone(world),
                life: Arc::clone(&life),
            }),
            queue_files: world.plan.on_disk.then(|| Arc::new(files) as _),
            dead_letters,
            blocking: Blocking::Here(Arc::new(move || {
                let longest = if slow.is_calm() {
                    Duration::ZERO
                } else {
                    slow.plan.disk_takes
                };
                some_of(&slow, longest)
            })),
            wall_clock: UNIX_EPOCH + BEGINNING + world.start.elapsed(),
            random: world.dice(|dice| dice.u64(..)),
        };
        let connector = Connector::assemble(&parameters, surroundings, ServiceManager::none());
        let connector = connector.expect("the connector can be made");
        let observer = connector.observer();
        world.watch(Some(observer.clone()));
        let held = observer.look().held;
        if kept.is_some_and(|kept| kept as u64 != held) {
            world.wrong(format_args!(
                "the last stop kept {kept:?} records, and {held} are there"
            ));
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(connector.run(async {
            let _ = stopped.await;
        }));
        Run {
            life,
            stop,
            task,
            auditor: tokio::spawn(audit(Arc::clone(world))),
            queue: queue.clone(),
            world: Arc::clone(world),
        }
    }

    /// Lets it run until it ends as planned. How many records it kept, if that can be told.
    async fn until(self, end: &EndPlan) -> Option<usize> {
        let world = Arc::clone(&self.world);
        let at = sleep_until(world.start + end.at);
        tokio::select! {
            biased;
            () = self.life.killed.notified() => {}
            () = at => {}
        }
        if end.how == End::Stop {
            let (leftover, is_faulty) = self.stop(&world).await;
            world.book().untold += leftover.dropped_statuses + leftover.documents;
            if is_faulty {
                world.noteless_stops.fetch_add(1, Ordering::Relaxed);
            }
            return (world.plan.on_disk && !is_faulty).then_some(leftover.kept);
        }
        self.life.kill();
        world.crashes.fetch_add(1, Ordering::Relaxed);
        world.say(format_args!("{:?}", end.how));
        world.watch(None);
        self.auditor.abort();
        self.task.abort();
        let _ = self.task.await;
        // What was spawned beside it ends, too.
        sleep(Duration::from_millis(1)).await;
        if let Some(keeps) = end.how.keeps() {
            let content = self.queue.content();
            let left = world.dice(|dice| content.after_power_cut(keeps, dice));
            self.queue.set_content(left);
        }
        None
    }

    /// Waits until there has been nothing left to do for a while.
    async fn deliver_all(&self, world: &World) {
        let limit = world.start.elapsed() + world.plan.to_deliver;
        let mut since = world.start.elapsed();
        while world.start.elapsed() < since + QUIET {
            sleep(Duration::from_millis(500)).await;
            let now = world.start.elapsed();
            if !self.is_done(world) {
                since = now;
            }
            if now > limit {
                let held = self.held(world);
                return world.wrong(format_args!(
                    "it is not all delivered: {held} held, at the broker {}",
                    world.broker.what_waits()
                ));
            }
        }
        let used = world.look(|snapshot| snapshot.memory_used_bytes);
        if used > 0 {
            world.wrong(format_args!(
                "nothing is held, and {used} bytes of memory are in use"
            ));
        }
    }

    fn held(&self, world: &World) -> String {
        world.look(|snapshot| {
            format!(
                "{} records, {} documents",
                snapshot.held, snapshot.status_documents_waiting
            )
        })
    }

    fn is_done(&self, world: &World) -> bool {
        world.broker.is_empty()
            && world.look(|snapshot| {
                snapshot.held == 0
                    && snapshot.status_documents_waiting == 0
                    && snapshot.totals.calls_in_flight == 0
                    && (snapshot.disk.as_ref()).is_none_or(|disk| disk.fault.is_none())
            })
    }

    /// Stops it. What it left, and whether the disk was faulty by then.
    async fn stop(self, world: &World) -> (Leftover, bool) {
        world.say(format_args!("it is asked to stop"));
        self.life.stopping.store(true, Ordering::Relaxed);
        let _ = self.stop.send(());
        let limit = world.plan.shutdown_timeout + TO_STOP;
        let mut task = self.task;
        let Ok(ended) = timeout(limit, &mut task).await else {
            world.wrong(format_args!("it does not stop within {limit:?}"));
            return (Leftover::default(), true);
        };
        let Ok(leftover) = ended else {
            world.wrong(format_args!("it panicked"));
            return (Leftover::default(), true);
        };
        let is_faulty = world.look(|snapshot| {
            let disk = snapshot.disk.as_ref();
            disk.is_some_and(|disk| disk.fault.is_some())
        });
        world.audit();
        world.watch(None);
        self.auditor.abort();
        world.say(format_args!("it stopped and left {leftover:?}"));
        self.life.kill();
        sleep(Duration::from_millis(1)).await;
        (leftover, is_faulty || leftover.fault)
    }
}

async fn audit(world: Arc<World>) {
    loop {
        world.audit();
        sleep(Duration::from_millis(250)).await;
    }
}

/// Records of the first stream, which is well, arrive in time whatever the others are like.
fn check_isolation(world: &World) {
    let late = {
        let book = world.book();
        let requests = book.requests.iter().enumerate();
        requests
            .filter(|(number, _)| book.plan[*number].stream.unwrap_or(0) == 0)
            .find_map(|(number, request)| {
                let handed = request.handed.first()?.0;
                let took = request.arrived_at? - handed;
                (took > world.plan.publish_interval + WELL).then_some((number, took))
            })
    };
    if let Some((number, took)) = late {
        world.wrong(format_args!(
            "{number} took {took:?}, to a stream that is well"
        ));
    }
}
