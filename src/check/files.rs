//! The parameters, and the files of the broker's side that they name: whether they can be read, hold what they
//! are there for, and are nobody else's where they are secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::report::{Step, StepName, Steps};
use super::root;
use crate::mqtt::{TlsFiles, client_config};
use crate::parameters::{Fault, Faults, MqttParameters, Parameters};

/// Parameters whose faults are about a file.
const FILES: [&str; 4] = [
    "MQTT_CA_FILE",
    "MQTT_CERT_FILE",
    "MQTT_KEY_FILE",
    "MQTT_PASSWORD_FILE",
];

/// Permissions of anybody but the owner.
const OF_OTHERS: u32 = 0o077;

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
        Ok(parameters) => files(&parameters.mqtt),
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

fn files(mqtt: &MqttParameters) -> Step {
    let name = StepName::Files;
    let named = [
        &mqtt.ca_file,
        &mqtt.cert_file,
        &mqtt.key_file,
        &mqtt.password_file,
    ];
    let count = named.into_iter().flatten().count();
    let by_root = root::of_files(named.into_iter().flatten().map(PathBuf::as_path));
    if count == 0 {
        return Step::well(name, "none is named");
    }
    if mqtt.tls {
        let files = TlsFiles {
            ca: mqtt.ca_file.clone(),
            client: mqtt.cert_file.clone().zip(mqtt.key_file.clone()),
        };
        if let Err(error) = client_config(&files, mqtt.port) {
            let advice = "put a PEM file there that holds what the parameter is for, and a key that fits its certificate";
            return Step::failed(name, error.to_string(), advice);
        }
    }
    let read = if count == 1 {
        "it can be read".to_owned()
    } else {
        format!("all {count} can be read")
    };
    let open: Vec<String> = [&mqtt.key_file, &mqtt.password_file]
        .into_iter()
        .flatten()
        .filter(|path| is_open_to_others(path))
        .map(|path| path.display().to_string())
        .collect();
    Step::well(
        name,
        match open.as_slice() {
            [] => read + &by_root,
            open => format!(
                "{read}; but others on this machine have rights to {}, which is secret: chmod 600{by_root}",
                open.join(" and ")
            ),
        },
    )
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OF_OTHERS != 0)
}
