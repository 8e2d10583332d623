//! The MQTT parameters: how to reach the broker, as whom, and over which kind of connection. The checks
//! of one parameter against another are here, and the files that they name are tried here, so that the
//! session finds a configuration that makes sense.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use super::fault::Problem;
use super::mqtt_url::{self, MqttUrl};
use super::read::{Noted, Reader, mqtt_string, one_of};
use super::table;

/// The longest string or binary value of MQTT, in bytes. Source: MQTT 5.0 sections 1.5.4 and 1.5.6, a
/// length prefix of 16 bits.
const MAX_MQTT_BYTES: usize = 65_535;

/// How the session reaches its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttParameters {
    /// Name or address of the broker; an IPv6 address without brackets.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// Whether the connection is TLS: the URL said `mqtts`.
    pub tls: bool,
    /// The session's name, under which the broker keeps what arrives while the connector is away.
    pub client_id: String,
    /// Which MQTT to speak.
    pub version: MqttVersion,
    /// The user to log in as, from `MQTT_USERNAME` or the URL.
    pub username: Option<String>,
    /// The password to log in with; never without a user, since MQTT 3.1.1 forbids it (section 3.1.2.9).
    pub password: Option<Secret>,
    /// The file that the password was read from, where it was.
    pub password_file: Option<PathBuf>,
    /// Authorities to check the broker's certificate against, instead of the operating system's. Only
    /// with `tls`; could be opened at start.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate. Only with `tls` and `key_file`; could be opened at start.
    pub cert_file: Option<PathBuf>,
    /// The client's private key. Only with `tls` and `cert_file`; could be opened at start.
    pub key_file: Option<PathBuf>,
}

/// Which version of MQTT the session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5, falling back to 3.1.1 where the broker refuses it.
    Auto,
    /// MQTT 5 only.
    V5,
    /// MQTT 3.1.1 only.
    V311,
}

/// A text that is never shown: it prints as `***`, however it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads and checks all MQTT parameters. Everything is read before anything is given up, so that no fault
/// hides another.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<MqttParameters, Noted> {
    let url = reader.value(&table::MQTT_URL, mqtt_url::parse);
    let client_id = client_id(reader);
    let version = reader.value(&table::MQTT_VERSION, |text| {
        one_of(
            text,
            &[
                ("auto", MqttVersion::Auto),
                ("5", MqttVersion::V5),
                ("3.1.1", MqttVersion::V311),
            ],
        )
    });
    let username = username(reader, url.as_ref().ok());
    let password = password(reader, url.as_ref().ok(), &username);
    let files = files(reader, url.as_ref().ok());
    let (url, [ca_file, cert_file, key_file]) = (url?, files?);
    let (password, password_file) = password?;
    Ok(MqttParameters {
        host: url.host,
        port: url.port,
        tls: url.tls,
        client_id: client_id?,
        version: version?,
        username: username?,
        password,
        password_file,
        ca_file,
        cert_file,
        key_file,
    })
}

/// `MQTT_CLIENT_ID`, or that of the host.
pub(super) fn client_id(reader: &mut Reader<'_>) -> Result<String, Noted> {
    let id = reader.optional(&table::MQTT_CLIENT_ID, |text| {
        mqtt_string(text, MAX_MQTT_BYTES)
    })?;
    Ok(id.unwrap_or_else(|| default_client_id(host_name().as_deref())))
}

/// `MQTT_USERNAME`, or the user in the URL; both only if they agree.
fn username(reader: &mut Reader<'_>, url: Option<&MqttUrl>) -> Result<Option<String>, Noted> {
    let parameter = &table::MQTT_USERNAME;
    let given = reader.optional(parameter, |text| mqtt_string(text, MAX_MQTT_BYTES))?;
    let in_url = url.and_then(|url| url.username.clone());
    match (given, in_url) {
        (Some(given), Some(in_url)) if given != in_url => {
            let problem = "there is another user in MQTT_URL: keep one of the two".to_owned();
            Err(reader.fault(parameter, Some(&given), problem))
        }
        (given, in_url) => Ok(given.or(in_url)),
    }
}

/// `MQTT_PASSWORD`, what `MQTT_PASSWORD_FILE` holds, or the password in the URL; several only if they
/// agree, and none of them without a user. The file, too, where that has it.
fn password(
    reader: &mut Reader<'_>,
    url: Option<&MqttUrl>,
    username: &Result<Option<String>, Noted>,
) -> Result<(Option<Secret>, Option<PathBuf>), Noted> {
    let given = reader.optional(&table::MQTT_PASSWORD, checked_password);
    let file = reader.text(&table::MQTT_PASSWORD_FILE);
    // The file's name, because that is what a fault about it shows.
    let (parameter, shown, given) = match (given?, file?) {
        (Some(_), Some(file)) => {
            let problem = "MQTT_PASSWORD is set as well: keep one of the two".to_owned();
            return Err(reader.fault(&table::MQTT_PASSWORD_FILE, Some(&file), problem));
        }
        (None, Some(file)) => match password_in(&file) {
            Ok(password) => (&table::MQTT_PASSWORD_FILE, Some(file), Some(password)),
            Err(problem) => {
                return Err(reader.fault(&table::MQTT_PASSWORD_FILE, Some(&file), problem));
            }
        },
        (given, None) => (&table::MQTT_PASSWORD, None, given),
    };
    let in_url = url.and_then(|url| url.password.clone());
    if given.is_some() && in_url.is_some() && given != in_url {
        let problem = "there is another password in MQTT_URL: keep one of the two".to_owned();
        return Err(reader.fault(parameter, shown.as_deref(), problem));
    }
    // The URL may hold the user that would go with it, so without a readable one there is nothing to say.
    if let (Some(url), Ok(None)) = (url, username)
        && (given.is_some() || url.password.is_some())
    {
        let problem =
            "there is a password and no user: set MQTT_USERNAME, or name the user in MQTT_URL"
                .to_owned();
        let parameter = if given.is_some() {
            parameter
        } else {
            &table::MQTT_URL
        };
        return Err(reader.fault(parameter, shown.as_deref(), problem));
    }
    // Nothing but the file's name is shown of a password.
    Ok((given.or(in_url).map(Secret::new), shown.map(PathBuf::from)))
}

fn checked_password(password: &str) -> Result<String, String> {
    match password.len() {
        0 => Err("there is no password in it".to_owned()),
        1..=MAX_MQTT_BYTES => Ok(password.to_owned()),
        _ => Err(format!(
            "it is longer than the {MAX_MQTT_BYTES} bytes that MQTT can carry"
        )),
    }
}

/// Reads a password file. One newline at its end, LF or CRLF, is the editor's and not the password's.
fn password_in(path: &str) -> Result<String, Problem> {
    let cannot = |error| Problem::of_file(format!("the file cannot be read: {error}"));
    // Two bytes for the newline, and one to see that a file is too long without reading all of it.
    let most = MAX_MQTT_BYTES as u64 + 3;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(cannot)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::of_file("what the file holds is not valid UTF-8".to_owned()))?;
    let text = text
        .strip_suffix('\n')
        .map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    checked_password(text).map_err(Problem::of_file)
}

/// The PEM files, in the order authorities, certificate, key.
fn files(reader: &mut Reader<'_>, url: Option<&MqttUrl>) -> Result<[Option<PathBuf>; 3], Noted> {
    let parameters = [
        &table::MQTT_CA_FILE,
        &table::MQTT_CERT_FILE,
        &table::MQTT_KEY_FILE,
    ];
    let texts = parameters.map(|parameter| reader.text(parameter));
    let mut noted = None;
    let [ca, certificate, key] = &texts;
    // What is set counts here, whether it can be read or not.
    let is_set = |text: &Result<Option<String>, Noted>| !matches!(text, Ok(None));
    if is_set(certificate) != is_set(key) {
        let (with, without) = if is_set(key) { (2, 1) } else { (1, 2) };
        let problem = format!(
            "{} is not set, and one is of no use without the other",
            parameters[without].env
        );
        let shown = texts[with].as_ref().ok().and_then(Option::as_deref);
        noted = Some(reader.fault(parameters[with], shown, problem));
    }
    for (parameter, text) in parameters.into_iter().zip([ca, certificate, key]) {
        let Ok(Some(path)) = text else { continue };
        if url.is_some_and(|url| !url.tls) {
            let problem =
                "MQTT_URL is mqtt://, which has no TLS: change it to mqtts://, or leave the file out".to_owned();
            noted = Some(reader.fault(parameter, Some(path), problem));
        }
        if let Err(problem) = can_be_opened(path) {
            noted = Some(reader.fault(parameter, Some(path), problem));
        }
    }
    let [ca, certificate, key] = texts;
    let files = [ca?, certificate?, key?].map(|path| path.map(PathBuf::from));
    noted.map_or(Ok(files), Err)
}

/// Opens a file without reading it: what is in it is for TLS to judge, each time it connects.
pub(super) fn can_be_opened(path: &str) -> Result<(), Problem> {
    let metadata = File::open(path).and_then(|file| file.metadata());
    let words = match metadata {
        Ok(metadata) if metadata.is_dir() => "it is a directory, not a file".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => format!("the file cannot be opened: {error}"),
    };
    Err(Problem::of_file(words))
}

/// The host's name, from the two places where Linux keeps it.
pub(super) fn host_name() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
}

/// The client id of a host: the same at every start, and another on every host whose name is its own.
pub(super) fn default_client_id(host_name: Option<&str>) -> String {
    let kept = |character: &char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
    };
    let host: String = host_name.unwrap_or_default().chars().filter(kept).collect();
    let host = if host.is_empty() { "device" } else { &host };
    format!("kinesis-edge-{host}")
}
