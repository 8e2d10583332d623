//! The parameters as they hold: the value of each, and where it was set. Nothing here shows a secret.

use clap::ArgMatches;

use crate::aggregate::Aggregation;

use super::fault::{Faults, without_secrets};
use super::mqtt::{default_client_id, host_name};
use super::parameter::{DefaultValue, Parameter};
use super::sources::{Origin, Sources};
use super::table::{self, PARAMETERS};
use super::{Parameters, parse};

/// One parameter as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Which one.
    pub parameter: &'static Parameter,
    /// Its value, faulty or not; a password is `***`. None where nothing is set and nothing holds.
    pub value: Option<String>,
    /// Where it was set.
    pub origin: Origin,
    /// Whether it was set, and to something other than the default.
    pub differs: bool,
    /// Whether it has a fault.
    pub is_faulty: bool,
}

/// Every parameter as `run` would take it, in the order of the table, and what is wrong with them.
pub fn load_effective(matches: &ArgMatches) -> (Vec<Effective>, Option<Faults>) {
    effective(&Sources::new(matches, &|name| std::env::var_os(name)))
}

pub(super) fn effective(sources: &Sources<'_>) -> (Vec<Effective>, Option<Faults>) {
    let read = sources.read(|lookup| parse(lookup));
    let all = PARAMETERS
        .iter()
        .map(|parameter| {
            let is_faulty = matches!(&read, Err(faults) if faults.concern(parameter));
            let default = default_of(parameter, read.as_ref().ok());
            let Some((text, origin)) = sources.find(parameter) else {
                return Effective {
                    parameter,
                    value: default,
                    origin: Origin::Default,
                    differs: false,
                    is_faulty,
                };
            };
            let text = text.unwrap_or_else(|not_text| not_text.shown);
            Effective {
                parameter,
                differs: default.as_deref() != Some(&*text),
                value: Some(without_secrets(parameter, &text).unwrap_or_else(|| "***".to_owned())),
                origin,
                is_faulty,
            }
        })
        .collect();
    (all, read.err())
}

/// What holds where nothing is set. What depends on other parameters is known only where all could be read.
fn default_of(parameter: &Parameter, parameters: Option<&Parameters>) -> Option<String> {
    let joins = parameters.and_then(|parameters| parameters.aggregation.as_ref());
    if *parameter == table::MQTT_CLIENT_ID {
        return Some(default_client_id(host_name().as_deref()));
    }
    if *parameter == table::RECORD_DELIMITER {
        return joins.map(|_| "\\n".to_owned());
    }
    if *parameter == table::AGGREGATION_MAX_BYTES && parameters.is_some() {
        return joins.map(|joins| Aggregation::default_max_bytes(joins.compression).to_string());
    }
    // The broker's serve, where there is something that they serve for.
    let with_iot = parameters.filter(|parameters| parameters.identity.iot.is_some());
    if [table::IOT_CERT_FILE, table::IOT_KEY_FILE].contains(parameter) {
        let mqtt = &with_iot?.mqtt;
        let [certificate, key] = [&mqtt.cert_file, &mqtt.key_file];
        let is_certificate = *parameter == table::IOT_CERT_FILE;
        let path = if is_certificate { certificate } else { key }.as_ref()?;
        return Some(path.display().to_string());
    }
    match parameter.default {
        DefaultValue::Value(text) | DefaultValue::Derived(text) => Some(text.to_owned()),
        DefaultValue::Required | DefaultValue::Unset => None,
    }
}
