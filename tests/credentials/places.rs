//! Where every SDK looks: that what changes there is seen without a restart, and that nobody is asked who cannot
//! answer.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use kinesis_edge::utc::Utc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::amazon::Amazon;
use crate::common::{App, Mosquitto, eventually};
use crate::{connector_at, warnings};

const FIRST: &str = "AKIAFIRSTFIRSTFIRSTF";
const SECOND: &str = "AKIASECONDSECONDSECO";

/// How long credentials hold that are to end soon.
const SECONDS: Duration = Duration::from_secs(3);

/// The files of a profile, as a rotation leaves them: replaced at once.
fn write_profile(path: &std::path::Path, key: &str) {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = made-up\n");
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_is_replaced_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    write_profile(&path, FIRST);
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[FIRST]).await);
    let shown = path.display().to_string();
    let connector = connector_at(
        &broker,
        &amazon.url,
        &[("AWS_SHARED_CREDENTIALS_FILE", &shown)],
    );
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());

    // First the old key is withdrawn, and then the new one is there.
    amazon.take(&[SECOND]);
    app.request("second", "a record").await;
    eventually("the old one is refused", || {
        connector.stderr().contains("ExpiredTokenException")
    })
    .await;
    write_profile(&path, SECOND);
    assert!(app.status_of("second").await.is_success());
    assert!(amazon.calls_of(SECOND) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_profile_that_is_named_is_told() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join(text.len().to_string());
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let keys = format!("[default]\naws_access_key_id = {FIRST}\naws_secret_access_key = x\n");
    let keys = file(&keys);
    let process = file("[default]\ncredential_process = /bin/true\n");
    let sso = file(
        "[default]\nsso_start_url = https://sso.example\nsso_region = eu-west-1\n\
         sso_account_id = 123456789012\nsso_role_name = edge\n",
    );
    // Nobody can read a directory as a file, not even root.
    let unreadable = folder.path().display().to_string();
    let in_file = "AWS_SHARED_CREDENTIALS_FILE";
    for (variables, words) in [
        (
            &[(in_file, &*keys), ("AWS_PROFILE", "press-7")][..],
            "AWS_PROFILE names the profile \"press-7\"",
        ),
        (
            &[("AWS_PROFILE", "press-7")],
            "AWS_PROFILE names the profile",
        ),
        (&[(in_file, &*unreadable)], "cannot be read"),
        (
            &[("AWS_CONFIG_FILE", &*process)],
            "it has credential_process, which kinesis-edge does not know",
        ),
        (&[("AWS_CONFIG_FILE", &*sso)], "it has sso_session or sso"),
    ] {
        let connector = connector_at(&broker, "http://127.0.0.1:9", variables);
        eventually(words, || {
            let mut said = warnings(&connector).into_iter();
            said.any(|line| line.contains("error.code=CredentialsFailed") && line.contains(words))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_set_to_nothing_is_not_set() {
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[FIRST]).await);
    let (url, _) = instance(FIRST).await;
    let _connector = connector_at(
        &broker,
        &amazon.url,
        &[
            ("AWS_PROFILE", ""),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", ""),
            ("AWS_ROLE_ARN", "arn:aws:iam::210987654321:role/writer"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", ""),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
            ("AWS_EC2_METADATA_DISABLED", "false"),
        ],
    );
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());
}

/// Greengrass's token exchange, with what its clients have to show.
pub struct TokenExchange {
    pub port: u16,
    /// Where it runs: its connections end with it.
    runtime: Option<Runtime>,
    refused: Arc<AtomicUsize>,
}

impl TokenExchange {
    /// On this port; 0 picks one. Gives credentials under this key that hold for so long.
    pub async fn start(port: u16, key: &'static str, lifetime: Duration) -> Self {
        let listener = loop {
            // A program that another test starts may hold what was open here, until it is itself.
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let port = listener.local_addr().unwrap().port();
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        let router = Router::new().fallback(move |headers: HeaderMap| {
            let token = headers.get("authorization").map(|token| token.as_bytes());
            let known = token == Some(b"hidden-authorization");
            counted.fetch_add(usize::from(!known), Ordering::SeqCst);
            let end = Utc::from(SystemTime::now() + lifetime);
            let answer = match known {
                true => (
                    StatusCode::OK,
                    format!(
                        r#"{{"AccessKeyId":"{key}","SecretAccessKey":"hidden-secret",
                            "Token":"hidden-token","Expiration":"{end}"}}"#
                    ),
                ),
                false => (StatusCode::FORBIDDEN, "no".to_owned()),
            };
            std::future::ready(answer)
        });
        let runtime = Runtime::new().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let _ = axum::serve(listener, router).await;
        });
        TokenExchange {
            port,
            runtime: Some(runtime),
            refused,
        }
    }

    /// Requests without it.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!(
            "http://127.0.0.1:{}/2016-11-01/credentialprovider/",
            self.port
        )
    }
}

impl Drop for TokenExchange {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greengrass_may_come_and_go() {
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[FIRST, SECOND]).await);
    let exchange = TokenExchange::start(0, FIRST, SECONDS).await;
    let url = exchange.url();
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hidden-authorization"),
    ];
    let connector = connector_at(&broker, &amazon.url, &variables);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());
    assert!(amazon.calls_of(FIRST) > 0);
    assert_eq!(exchange.refused(), 0);

    let port = exchange.port;
    drop(exchange);
    eventually("it says that they cannot be renewed", || {
        !warnings(&connector).is_empty()
    })
    .await;
    let said = warnings(&connector).join("\n");
    assert!(
        said.contains("error.code=ContainerCredentialsFailed"),
        "{said}"
    );
    app.request("second", "a record").await;
    let _again = TokenExchange::start(port, SECOND, SECONDS).await;
    assert!(app.status_of("second").await.is_success());
    eventually("the new ones are used", || {
        connector.stderr().contains("renewed again")
    })
    .await;
    app.request("third", "a record").await;
    assert!(app.status_of("third").await.is_success());
    eventually("a call has the new ones", || amazon.calls_of(SECOND) > 0).await;
    let log = connector.stderr();
    assert!(!log.contains("hidden-"), "{log}");
}

/// The instance's metadata, and what it was asked for.
pub async fn instance(key: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let router = Router::new().fallback(move |uri: Uri| {
        let path = uri.path().to_owned();
        let answer = match path.as_str() {
            "/latest/api/token" => "token".to_owned(),
            "/latest/meta-data/iam/security-credentials/" => "role".to_owned(),
            _ => format!(
                r#"{{"Code":"Success","AccessKeyId":"{key}","SecretAccessKey":"made-up",
                    "Token":"made-up","Expiration":"2099-01-01T00:00:00Z"}}"#
            ),
        };
        noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
        std::future::ready(([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], answer))
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_is_asked_where_somebody_says_so() {
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[FIRST]).await);
    let (url, asked) = instance(FIRST).await;
    let mut variables = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("MQTT_CLIENT_ID", "no"),
    ];
    let silent = connector_at(&broker, &amazon.url, &variables);
    eventually("it says that there are none", || {
        !warnings(&silent).is_empty()
    })
    .await;
    assert!(warnings(&silent)[0].contains("NoCredentials"));
    assert!(asked.lock().unwrap().is_empty());
    drop(silent);

    variables[1].1 = "false";
    variables[2].1 = "yes";
    let _connector = connector_at(&broker, &amazon.url, &variables);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());
    assert!(!asked.lock().unwrap().is_empty());
}
