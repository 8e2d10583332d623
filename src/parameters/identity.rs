//! The parameters of who the device is towards AWS: its certificate for the credentials provider of AWS IoT, and a
//! role to assume. Their checks against each other are here; the files are tried here and read by whoever connects.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::mqtt::{can_be_opened, client_id};
use super::parameter::Parameter;
use super::read::{Noted, Reader};
use super::table;
use crate::arn::Partition;

/// The port of the credentials provider, where none is given (AWS IoT developer guide, "Authorizing direct calls").
const HTTPS_PORT: u16 = 443;

/// The longest host name. Source: RFC 1035 section 2.3.4, without the dots at its ends.
const MAX_HOST_BYTES: usize = 253;

/// Longest role alias and thing name. Source: AWS IoT API reference, `CreateRoleAlias` and `CreateThing`.
const MAX_IOT_NAME_BYTES: usize = 128;

/// Lengths of a role's ARN and of an external id. Source: STS API reference, `AssumeRole`.
const MAX_ROLE_ARN_BYTES: usize = 2_048;
const EXTERNAL_ID_BYTES: RangeInclusive<usize> = 2..=1_224;

/// Lengths of a role session's name; from the same place.
const SESSION_NAME_CHARS: RangeInclusive<usize> = 2..=64;

/// One of these is in the name of every endpoint of the credentials provider, unlike in those for MQTT.
const CREDENTIALS_LABELS: [&str; 2] = [".credentials.iot.", ".credentials.iot-fips."];

/// Who the device is towards AWS. Nothing of it: whoever the SDK's chain finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityParameters {
    /// Where credentials are had for the device's certificate, and only there.
    pub iot: Option<IotParameters>,
    /// The role whose credentials are used instead of those that were found.
    pub role: Option<RoleParameters>,
}

/// The credentials provider of AWS IoT, and the device's certificate for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IotParameters {
    /// Its name, or an address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role alias whose role the credentials are for.
    pub role_alias: String,
    /// The thing that the certificate is attached to, where the role's policies are to know it.
    pub thing_name: Option<String>,
    /// The device's certificate; could be opened at start.
    pub cert_file: PathBuf,
    /// Its key; could be opened at start.
    pub key_file: PathBuf,
    /// Authorities to check the provider's certificate against, instead of the operating system's.
    pub ca_file: Option<PathBuf>,
}

/// A role that is assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleParameters {
    /// Its ARN.
    pub arn: String,
    /// What whoever owns the role wants to be told.
    pub external_id: Option<String>,
    /// What the session is called in the other account's logs: the client id, as far as it can be that.
    pub session_name: String,
}

/// A certificate and its key.
type Pair = (PathBuf, PathBuf);

/// What is asked of the parameters of the broker's side, and only where it counts.
pub(super) struct BrokersSide<'a> {
    /// The certificate and key for the broker.
    pub files: &'a dyn Fn(&mut Reader<'_>) -> Result<Option<Pair>, Noted>,
    /// The client id.
    pub client_id: &'a dyn Fn(&mut Reader<'_>) -> Result<String, Noted>,
}

/// Reads and checks all of it. The broker's certificate and key serve where AWS IoT has none of its own.
pub(super) fn read(
    reader: &mut Reader<'_>,
    brokers: &BrokersSide<'_>,
) -> Result<IdentityParameters, Noted> {
    let iot = iot(reader, brokers);
    let role = role(reader, brokers);
    Ok(IdentityParameters {
        iot: iot?,
        role: role?,
    })
}

/// The same for commands that know no broker.
pub(super) fn read_alone(reader: &mut Reader<'_>) -> Result<IdentityParameters, Noted> {
    let brokers = BrokersSide {
        files: &|reader| {
            let certificate = file(reader, &table::MQTT_CERT_FILE);
            let key = file(reader, &table::MQTT_KEY_FILE);
            Ok(certificate?.zip(key?))
        },
        client_id: &client_id,
    };
    read(reader, &brokers)
}

fn iot(reader: &mut Reader<'_>, brokers: &BrokersSide<'_>) -> Result<Option<IotParameters>, Noted> {
    let endpoint = reader.optional(&table::IOT_CREDENTIAL_ENDPOINT, endpoint);
    let role_alias = reader.optional(&table::IOT_ROLE_ALIAS, role_alias);
    let thing_name = reader.optional(&table::IOT_THING_NAME, thing_name);
    let [certificate, key, ca] = [
        &table::IOT_CERT_FILE,
        &table::IOT_KEY_FILE,
        &table::IOT_CA_FILE,
    ]
    .map(|parameter| file(reader, parameter));
    let Some((host, port)) = endpoint? else {
        let names = [&role_alias, &thing_name].map(shown);
        let files = [&certificate, &key, &ca].map(shown);
        let [alias, thing] = names;
        let [certificate, key, ca] = files;
        return nothing_without_endpoint(reader, [alias, thing, certificate, key, ca]);
    };
    let role_alias = role_alias.and_then(|alias| {
        alias.ok_or_else(|| {
            let problem = "it is not set, and AWS IoT gives credentials for a role alias only";
            reader.fault(&table::IOT_ROLE_ALIAS, None, problem.to_owned())
        })
    });
    let client = client(reader, [certificate, key], brokers);
    let (cert_file, key_file) = client?;
    Ok(Some(IotParameters {
        host,
        port,
        role_alias: role_alias?,
        thing_name: thing_name?,
        cert_file,
        key_file,
        ca_file: ca?,
    }))
}

/// A value that was read, as text. What could not be read is a fault already.
fn shown<T: Clone + Into<OsString>>(read: &Result<Option<T>, Noted>) -> Option<String> {
    let value: OsString = read.as_ref().ok()?.clone()?.into();
    value.into_string().ok()
}

/// Notes what is set though nothing is asked for with it.
fn nothing_without_endpoint(
    reader: &mut Reader<'_>,
    set: [Option<String>; 5],
) -> Result<Option<IotParameters>, Noted> {
    let parameters = [
        &table::IOT_ROLE_ALIAS,
        &table::IOT_THING_NAME,
        &table::IOT_CERT_FILE,
        &table::IOT_KEY_FILE,
        &table::IOT_CA_FILE,
    ];
    let mut noted = None;
    for (parameter, text) in parameters.into_iter().zip(set) {
        if let Some(text) = text {
            let problem =
                "IOT_CREDENTIAL_ENDPOINT is not set, and without it nothing is asked of AWS IoT";
            noted = Some(reader.fault(parameter, Some(&text), problem.to_owned()));
        }
    }
    noted.map_or(Ok(None), Err)
}

/// The certificate and its key: both of AWS IoT's own, or both the broker's.
fn client(
    reader: &mut Reader<'_>,
    [certificate, key]: [Result<Option<PathBuf>, Noted>; 2],
    brokers: &BrokersSide<'_>,
) -> Result<Pair, Noted> {
    let (certificate, key) = (certificate?, key?);
    let (with, without, path) = match (certificate, key) {
        (Some(certificate), Some(key)) => return Ok((certificate, key)),
        (None, None) => {
            return (brokers.files)(reader)?.ok_or_else(|| {
                let problem = "it is not set, and neither is MQTT_CERT_FILE, which would do for both; AWS IoT knows \
                               the device by its certificate";
                reader.fault(&table::IOT_CERT_FILE, None, problem.to_owned())
            });
        }
        (Some(path), None) => (&table::IOT_CERT_FILE, &table::IOT_KEY_FILE, path),
        (None, Some(path)) => (&table::IOT_KEY_FILE, &table::IOT_CERT_FILE, path),
    };
    let problem = format!(
        "{} is not set, and one is of no use without the other",
        without.env
    );
    Err(reader.fault(with, path.to_str(), problem))
}

fn file(reader: &mut Reader<'_>, parameter: &Parameter) -> Result<Option<PathBuf>, Noted> {
    reader.optional(parameter, |path| {
        can_be_opened(path).map(|()| PathBuf::from(path))
    })
}

/// A host with or without a port.
fn endpoint(text: &str) -> Result<(String, u16), String> {
    if text.contains("://") || text.contains('/') {
        return Err("it is a URL or has a path: the host's name alone is enough".to_owned());
    }
    // An IPv6 address has colons of its own, and brackets around it where there is a port.
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
            None => return Err("there is no \"]\" behind the address".to_owned()),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(HTTPS_PORT), |port| {
        port.parse().ok().filter(|port| *port != 0)
    });
    let Some(port) = port else {
        return Err("what follows its colon is no port (1 to 65535)".to_owned());
    };
    if text.starts_with('[') {
        let address = host.parse::<std::net::Ipv6Addr>();
        return match address {
            Ok(_) => Ok((host.to_owned(), port)),
            Err(_) => Err("what stands in its brackets is no IPv6 address".to_owned()),
        };
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(is_name_byte) {
        return Err("it is not a host's name of letters, digits, \"-\" and \".\"".to_owned());
    }
    let is_for_credentials = CREDENTIALS_LABELS.iter().any(|label| host.contains(label));
    if host.contains(".amazonaws.com") && !is_for_credentials {
        let problem = "it is another endpoint of AWS; that of credentials has \".credentials.iot.\" in its name: aws iot \
                       describe-endpoint --endpoint-type iot:CredentialProvider";
        return Err(problem.to_owned());
    }
    Ok((host.to_owned(), port))
}

fn role_alias(text: &str) -> Result<String, String> {
    of_characters(text, 1..=MAX_IOT_NAME_BYTES, "_=,@-")
}

fn thing_name(text: &str) -> Result<String, String> {
    of_characters(text, 1..=MAX_IOT_NAME_BYTES, "_:-")
}

fn external_id(text: &str) -> Result<String, String> {
    of_characters(text, EXTERNAL_ID_BYTES, "_+=,.@:/-")
}

/// Letters, digits, and these.
fn of_characters(
    text: &str,
    lengths: RangeInclusive<usize>,
    others: &str,
) -> Result<String, String> {
    if !lengths.contains(&text.len()) {
        let length = text.len();
        let (least, most) = (lengths.start(), lengths.end());
        return Err(format!(
            "it has {length} bytes, and {least} to {most} are valid"
        ));
    }
    let wrong =
        |character: &char| !character.is_ascii_alphanumeric() && !others.contains(*character);
    match text.chars().find(wrong) {
        Some(character) => Err(format!(
            "it has {character:?} in it; letters, digits and {others} are valid"
        )),
        None => Ok(text.to_owned()),
    }
}

fn role(
    reader: &mut Reader<'_>,
    brokers: &BrokersSide<'_>,
) -> Result<Option<RoleParameters>, Noted> {
    let arn = reader.optional(&table::ASSUME_ROLE_ARN, role_arn);
    let external_id = reader.optional(&table::ASSUME_ROLE_EXTERNAL_ID, external_id);
    let (arn, external_id) = (arn?, external_id?);
    match (arn, external_id) {
        (Some(arn), external_id) => Ok(Some(RoleParameters {
            arn,
            external_id,
            session_name: session_name(&(brokers.client_id)(reader)?),
        })),
        (None, Some(id)) => {
            let problem = "ASSUME_ROLE_ARN is not set, and no other role asks for it".to_owned();
            Err(reader.fault(&table::ASSUME_ROLE_EXTERNAL_ID, Some(&id), problem))
        }
        (None, None) => Ok(None),
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`. Source: IAM user guide, "IAM identifiers".
fn role_arn(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, resource] = &parts[..] else {
        return Err("it is not arn:PARTITION:iam::ACCOUNT:role/NAME".to_owned());
    };
    if Partition::from_name(partition).is_none() {
        return Err(format!("there is no partition {partition:?}"));
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("its account {account:?} is not 12 digits"));
    }
    let Some(name) = resource.strip_prefix("role/") else {
        return Err("it is no role's: behind the account stands no \"role/\"".to_owned());
    };
    of_characters(name, 1..=MAX_ROLE_ARN_BYTES - 32, "_+=,.@/-")
        .map_err(|problem| format!("behind \"role/\" {problem}"))?;
    Ok(text.to_owned())
}

/// A client id as a role session may be called.
fn session_name(client_id: &str) -> String {
    let fits = |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    let name: String = client_id
        .chars()
        .take(*SESSION_NAME_CHARS.end())
        .map(|character| if fits(character) { character } else { '-' })
        .collect();
    if name.len() < *SESSION_NAME_CHARS.start() {
        return format!("kinesis-edge-{name}");
    }
    name
}
