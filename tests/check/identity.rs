//! What can be wrong where credentials come from: who refuses them is named, with the reason and what to do.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio_rustls::rustls::version::TLS12;

use crate::common::iot::{IotProvider, Reply};
use crate::common::{Authority, free_port};
use crate::site::{NO_SEND, Site};

const NONE: [(&str, &str); 3] = [NO_SEND, ("credentials", "failed"), ("access", "skipped")];

/// A site with nothing but the device's certificate.
async fn site(provider: &IotProvider) -> Site {
    let mut site = Site::new().await;
    site.variables.remove("AWS_ACCESS_KEY_ID");
    site.variables.remove("AWS_SECRET_ACCESS_KEY");
    site.variables.extend(provider.variables());
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_named_as_where_they_come_from() {
    let provider = IotProvider::start("ASIAABCDEFGHIJKLMNOP").await;
    let mut site = site(&provider).await;
    let from = "the device's certificate (AWS IoT role alias edge-alias)";
    let shown = [from, "ASIA…MNOP", "until 20"];
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND])
        .says("credentials", &shown)
        // The key, as the test wrote it.
        .says("files", &["all 3 can be read", "device.key", "chmod o="]);
    // By a clock that is hours off, the time that is left counts.
    provider.reply(Reply::Granted(
        "ASIAABCDEFGHIJKLMNOP",
        Duration::from_secs(900),
        -20_000,
    ));
    site.check(&[])
        .await
        .is(&[NO_SEND])
        .says("credentials", &shown);

    // The broker's certificate, where there is no other.
    for (iot, mqtt) in [
        ("IOT_CERT_FILE", "MQTT_CERT_FILE"),
        ("IOT_KEY_FILE", "MQTT_KEY_FILE"),
    ] {
        let file = site.variables.remove(iot).unwrap();
        site.set(mqtt, file);
    }
    site.set("MQTT_URL", "mqtts://127.0.0.1:1");
    let report = site.check(&[]).await;
    report
        .says("credentials", &shown)
        .says("files", &["all 3 can be read"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_aws_iot_is_told_with_what_to_do() {
    let provider = IotProvider::start("ASIA").await;
    let site = site(&provider).await;
    for (reply, words) in [
        (
            Reply::refused(403, "Access Denied"),
            &[
                "HTTP status 403",
                "Access Denied",
                "iot:AssumeRoleWithCertificate",
                "edge-alias",
            ][..],
        ),
        (
            Reply::refused(404, "Role alias does not exist"),
            &["HTTP status 404", "edge-alias", "create-role-alias"],
        ),
        (
            Reply::Other(200, "<html>Welcome! Please log in.</html>".to_owned()),
            &["not with credentials", "portal", "iot:CredentialProvider"],
        ),
        (
            Reply::Other(200, "x".repeat(70_000)),
            &["longer than 65536 bytes"],
        ),
        (
            Reply::Silence,
            &["no answer within 10 s", "IOT_CREDENTIAL_ENDPOINT"],
        ),
    ] {
        provider.reply(reply);
        site.check(&[]).await.is(&NONE).says("credentials", words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_taken_is_named() {
    let (old, new) = tokio::join!(
        IotProvider::start_with("ASIA", &TLS12),
        IotProvider::start("ASIA")
    );
    for provider in [old, new] {
        let mut site = site(&provider).await;
        let folder = provider.folder();
        provider
            .authority
            .issue_for(folder, "expired", &["device"], 2000..2001);
        Authority::new("somebody else").issue(folder, "foreign", &["device"]);
        let file = |name: &str| folder.join(name).display().to_string();
        let mut refused = async |name: &str| {
            site.set("IOT_CERT_FILE", file(&format!("{name}.pem")));
            site.set("IOT_KEY_FILE", file(&format!("{name}.key")));
            site.check(&[]).await
        };
        let report = refused("expired").await;
        report
            .is(&NONE)
            .says("credentials", &["expired.pem has expired", "is active"]);
        let report = refused("foreign").await;
        report.is(&NONE).says(
            "credentials",
            &["does not accept", "foreign.pem", "registered"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_not_the_right_one_is_named() {
    let provider = IotProvider::start("ASIA").await;
    let mut site = site(&provider).await;
    let other = provider.path("other-ca.pem");
    std::fs::write(&other, Authority::new("somebody else").pem).unwrap();
    let ca = site.variables["IOT_CA_FILE"].clone();
    site.set("IOT_CA_FILE", other.display().to_string());
    let report = site.check(&[]).await;
    report.is(&NONE).says(
        "credentials",
        &["no authority that is trusted here", "IOT_CA_FILE"],
    );

    site.set("IOT_CA_FILE", ca);
    site.set(
        "IOT_CREDENTIAL_ENDPOINT",
        format!("127.0.0.2:{}", provider.port),
    );
    let report = site.check(&[]).await;
    report.is(&NONE).says("credentials", &["127.0.0.2"]);

    site.set(
        "IOT_CREDENTIAL_ENDPOINT",
        format!("127.0.0.1:{}", free_port()),
    );
    let report = site.check(&[]).await;
    report
        .is(&NONE)
        .says("credentials", &["cannot be asked", "refused", "firewall"]);
    assert_eq!(provider.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_do_not_fit_are_found_before_they_are_used() {
    let provider = IotProvider::start("ASIA").await;
    let mut site = site(&provider).await;
    provider
        .authority
        .issue(provider.folder(), "other", &["device"]);
    let other = provider.path("other.key").display().to_string();
    site.set("IOT_KEY_FILE", &*other);
    let report = site.check(&[]).await;
    assert_eq!(report.steps["files"]["result"], "failed");
    report.says("files", &["device.pem with", "other.key"]);
    site.set("IOT_KEY_FILE", "missing.key");
    let report = site.check(&[]).await;
    assert_eq!(report.steps["files"]["result"], "failed");
    report.says("files", &["IOT_KEY_FILE", "missing.key"]);
    assert_eq!(provider.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_exchange_that_gives_none_is_named() {
    let mut site = Site::new().await;
    site.variables.remove("AWS_ACCESS_KEY_ID");
    site.variables.remove("AWS_SECRET_ACCESS_KEY");
    for (status, advice) in [
        (StatusCode::FORBIDDEN, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        (StatusCode::INTERNAL_SERVER_ERROR, "its own log"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(move || std::future::ready(status));
        tokio::spawn(async move { axum::serve(listener, router).await });
        site.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
        let status = format!("HTTP status {}", status.as_u16());
        let report = site.check(&[]).await;
        report.is(&NONE).says(
            "credentials",
            &["the container or Greengrass", &status, advice],
        );
    }
    let gone = format!("http://127.0.0.1:{}/", free_port());
    site.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", gone);
    let report = site.check(&[]).await;
    report
        .is(&NONE)
        .says("credentials", &["the container or Greengrass", "nucleus"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_cannot_be_used_is_named() {
    let mut site = Site::new().await;
    site.variables.remove("AWS_ACCESS_KEY_ID");
    site.variables.remove("AWS_SECRET_ACCESS_KEY");
    let path = site.folder.path().join("credentials");
    let text = "[default\naws_access_key_id = AKIA\n";
    std::fs::write(&path, text).unwrap();
    site.set("AWS_SHARED_CREDENTIALS_FILE", path.display().to_string());
    let report = site.check(&[]).await;
    report
        .is(&NONE)
        .says("credentials", &["from the profile", "take it away"]);
}
