//! The parameters, and the files that they name of the broker's side and of AWS IoT's: whether they can be read, hold what they
//! are there for, and are nobody else's where they are secret.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::report::{Step, StepName, Steps};
use super::root;
use crate::parameters::{Fault, Faults, Parameters};
use crate::tls::{self, TlsError, TlsFiles};

/// Parameters whose faults are about a file.
const FILES: [&str; 7] = [
    "MQTT_CA_FILE",
    "MQTT_CERT_FILE",
    "MQTT_KEY_FILE",
    "MQTT_PASSWORD_FILE",
    "IOT_CA_FILE",
    "IOT_CERT_FILE",
    "IOT_KEY_FILE",
];

/// Permissions of whoever is neither the owner nor in the group, by which the connector's user may be the one to read it.
const OF_OTHERS: u32 = 0o007;

/// Tells of the parameters and their files. Whether the files can be used.
pub(super) fn look(
    loaded: &Result<Parameters, Faults>,
    config_file: Option<&Path>,
    steps: &Steps,
) -> bool {
    let faults = loaded.as_ref().err().map(|faults| faults.0.as_slice());
    let (of_files, others): (Vec<&Fault>, Vec<&Fault>) = faults
        .unwrap_or_default()
        .iter()
        .partition(|fault| FILES.contains(&fault.parameter));
    steps.tell(if others.is_empty() {
        let by_root = root::of_files(config_file);
        Step::well(StepName::Parameters, format!("each is valid{by_root}"))
    } else {
        faulty(StepName::Parameters, &others)
    });
    steps.tell(match loaded {
        _ if !of_files.is_empty() => faulty(StepName::Files, &of_files),
        Ok(parameters) => files(parameters),
        Err(_) => Step::skipped(StepName::Files, "not tried, because of parameters"),
    })
}

fn faulty(name: StepName, faults: &[&Fault]) -> Step {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        count => format!("{count} faults"),
    };
    let details = faults
        .iter()
        .map(|fault| format!("{}; valid: {}", fault.sentence(), fault.valid));
    let advice = "`kinesis-edge run` would not start; mend what is listed";
    Step::failed(name, count, advice).with_details(details.collect())
}

fn files(parameters: &Parameters) -> Step {
    let name = StepName::Files;
    let Named { all, secret } = named(parameters);
    let count = all.len();
    let by_root = root::of_files(all.iter().copied());
    if count == 0 {
        return Step::well(name, "none is named");
    }
    if let Err(error) = fit(parameters) {
        let advice = "put a PEM file there that holds what the parameter is for, and a key that fits its certificate";
        return Step::failed(name, error.to_string(), advice);
    }
    let read = if count == 1 {
        "it can be read".to_owned()
    } else {
        format!("all {count} can be read")
    };
    let open: Vec<String> = secret
        .iter()
        .filter(|path| is_open_to_others(path))
        .map(|path| path.display().to_string())
        .collect();
    let mut told = read;
    if !open.is_empty() {
        told += &format!(
            "; but every user of this machine has rights to {}, which is secret: chmod o=",
            open.join(" and ")
        );
    }
    for fault in faults_of_certificates(parameters) {
        told += &format!("; but {fault}");
    }
    Step::well(name, told + &by_root)
}

/// Why our certificates will not be taken. No reason to try nothing else: it may be the clock that is wrong.
fn faults_of_certificates(parameters: &Parameters) -> Vec<String> {
    let of_broker = parameters.mqtt.cert_file.as_deref();
    let of_iot = parameters.identity.iot.as_ref().map(|iot| &*iot.cert_file);
    // The broker's may serve both.
    let of_iot = of_iot.filter(|path| of_broker != Some(path));
    let named = [(of_broker, "MQTT_CERT_FILE"), (of_iot, "IOT_CERT_FILE")];
    let faults = named.into_iter().filter_map(|(path, parameter)| {
        let path = path?;
        let fault = tls::validity(path)?.fault(SystemTime::now())?;
        Some(format!("{} ({parameter}) {fault}", path.display()))
    });
    faults.collect()
}

/// Files that parameters name, each of them once.
struct Named<'a> {
    all: Vec<&'a Path>,
    /// Those of them that are for nobody else.
    secret: Vec<&'a Path>,
}

fn named(parameters: &Parameters) -> Named<'_> {
    let mqtt = &parameters.mqtt;
    let mut named = Named {
        all: [&mqtt.ca_file, &mqtt.cert_file]
            .into_iter()
            .flatten()
            .map(|path| &**path)
            .collect(),
        secret: [&mqtt.key_file, &mqtt.password_file]
            .into_iter()
            .flatten()
            .map(|path| &**path)
            .collect(),
    };
    if let Some(iot) = &parameters.identity.iot {
        named.all.push(&iot.cert_file);
        named.all.extend(iot.ca_file.as_deref());
        named.secret.push(&iot.key_file);
    }
    named.all.extend(&named.secret);
    // The broker's may serve both.
    for paths in [&mut named.all, &mut named.secret] {
        let mut seen = HashSet::new();
        paths.retain(|path| seen.insert(*path));
    }
    named
}

/// Whether the files hold what TLS needs.
fn fit(parameters: &Parameters) -> Result<(), TlsError> {
    let mqtt = &parameters.mqtt;
    if mqtt.tls {
        let files = TlsFiles {
            ca: mqtt.ca_file.clone(),
            client: mqtt.cert_file.clone().zip(mqtt.key_file.clone()),
        };
        tls::client_config(&files)?;
    }
    if let Some(iot) = &parameters.identity.iot {
        let files = TlsFiles {
            ca: iot.ca_file.clone(),
            client: Some((iot.cert_file.clone(), iot.key_file.clone())),
        };
        tls::client_config(&files)?;
    }
    Ok(())
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OF_OTHERS != 0)
}
