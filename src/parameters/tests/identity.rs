//! The rows of the table about who the device is towards AWS, against each other and against the broker's.

use super::*;

const HOST: &str = "c2sakl5huz0afv.credentials.iot.eu-west-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::210987654321:role/line/telemetry-writer";

/// Files that can be opened, and what is set beside them: a file is `{}`.
struct Files {
    _folder: tempfile::TempDir,
    path: String,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "file.pem", b"whatever is in it");
        Files {
            _folder: folder,
            path,
        }
    }

    fn read(&self, set: &[(&str, &str)]) -> Result<Parameters, Faults> {
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| match *value {
                "{}" => (*name, self.path.as_str()),
                value => (*name, value),
            })
            .collect();
        with(&set)
    }

    /// The names of the faulty parameters, and all that is said.
    fn faults(&self, set: &[(&str, &str)]) -> (Vec<&'static str>, String) {
        let faults = self.read(set).expect_err(&format!("{set:?}"));
        let names = faults.0.iter().map(|fault| fault.parameter).collect();
        (names, faults.to_string())
    }
}

const ENDPOINT: (&str, &str) = ("IOT_CREDENTIAL_ENDPOINT", HOST);
const ALIAS: (&str, &str) = ("IOT_ROLE_ALIAS", "edge=1,@-_");
const CERT: (&str, &str) = ("IOT_CERT_FILE", "{}");
const KEY: (&str, &str) = ("IOT_KEY_FILE", "{}");

#[test]
fn all_that_aws_iot_needs() {
    let files = Files::new();
    let set = [
        ENDPOINT,
        ALIAS,
        CERT,
        KEY,
        ("IOT_CA_FILE", "{}"),
        ("IOT_THING_NAME", "press:7_a-B"),
    ];
    let identity = files.read(&set).unwrap().identity;
    let path = || PathBuf::from(&files.path);
    let expected = IotParameters {
        host: HOST.to_owned(),
        port: 443,
        role_alias: ALIAS.1.to_owned(),
        thing_name: Some("press:7_a-B".to_owned()),
        cert_file: path(),
        key_file: path(),
        ca_file: Some(path()),
    };
    assert_eq!(identity.iot, Some(expected));
    assert_eq!(identity.role, None);
}

#[test]
fn the_brokers_certificate_serves_where_there_is_no_other() {
    let files = Files::new();
    let broker = [
        ("MQTT_URL", "mqtts://h"),
        ("MQTT_CERT_FILE", "{}"),
        ("MQTT_KEY_FILE", "{}"),
    ];
    let set = [&broker[..], &[ENDPOINT, ALIAS]].concat();
    let iot = files.read(&set).unwrap().identity.iot.unwrap();
    assert_eq!(
        [iot.cert_file, iot.key_file],
        [&files.path, &files.path].map(PathBuf::from)
    );

    let (names, said) = files.faults(&[ENDPOINT, ALIAS]);
    assert_eq!(names, ["IOT_CERT_FILE"]);
    assert!(said.contains("neither is MQTT_CERT_FILE"), "{said}");
    // One of each is none.
    let (names, said) = files.faults(&[&broker[..], &[ENDPOINT, ALIAS, CERT]].concat());
    assert_eq!(names, ["IOT_CERT_FILE"]);
    assert!(said.contains("IOT_KEY_FILE is not set"), "{said}");
    let (names, _) = files.faults(&[&broker[..], &[ENDPOINT, ALIAS, KEY]].concat());
    assert_eq!(names, ["IOT_KEY_FILE"]);
    // A fault of the broker's is one fault.
    let (names, _) = files.faults(&[ENDPOINT, ALIAS, ("MQTT_URL", "h")]);
    assert_eq!(names, ["MQTT_URL"]);
}

#[test]
fn what_is_of_no_use_alone_is_a_fault() {
    let files = Files::new();
    for (name, value) in [
        ALIAS,
        CERT,
        KEY,
        ("IOT_CA_FILE", "{}"),
        ("IOT_THING_NAME", "press-7"),
    ] {
        let (names, said) = files.faults(&[(name, value)]);
        assert_eq!(names, [name]);
        assert!(
            said.contains("IOT_CREDENTIAL_ENDPOINT is not set"),
            "{said}"
        );
    }
    let (names, _) = files.faults(&[ALIAS, CERT, KEY]);
    assert_eq!(names, ["IOT_ROLE_ALIAS", "IOT_CERT_FILE", "IOT_KEY_FILE"]);
    let (names, said) = files.faults(&[ENDPOINT, CERT, KEY]);
    assert_eq!(names, ["IOT_ROLE_ALIAS"]);
    assert!(said.contains("for a role alias only"), "{said}");
    let (names, _) = files.faults(&[ENDPOINT]);
    assert_eq!(names, ["IOT_ROLE_ALIAS", "IOT_CERT_FILE"]);
    let (names, _) = files.faults(&[("ASSUME_ROLE_EXTERNAL_ID", "line-3")]);
    assert_eq!(names, ["ASSUME_ROLE_EXTERNAL_ID"]);
}

#[test]
fn where_credentials_are_asked_for() {
    let files = Files::new();
    let rest = [ALIAS, CERT, KEY];
    for (text, host, port) in [
        (HOST, HOST, 443),
        ("localhost:8443", "localhost", 8443),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:8443", "::1", 8443),
        ("[::1]", "::1", 443),
        (
            "a.credentials.iot.cn-north-1.amazonaws.com.cn",
            "a.credentials.iot.cn-north-1.amazonaws.com.cn",
            443,
        ),
        (
            "a.credentials.iot-fips.us-gov-west-1.amazonaws.com",
            "a.credentials.iot-fips.us-gov-west-1.amazonaws.com",
            443,
        ),
    ] {
        let set = [&rest[..], &[("IOT_CREDENTIAL_ENDPOINT", text)]].concat();
        let iot = files.read(&set).unwrap().identity.iot.unwrap();
        assert_eq!((&*iot.host, iot.port), (host, port));
    }
    for (text, problem) in [
        (&*format!("https://{HOST}"), "a URL"),
        (&format!("{HOST}/role-aliases"), "has a path"),
        (&format!("{HOST}:0"), "no port"),
        (&format!("{HOST}:65536"), "no port"),
        (&format!("{HOST}:"), "no port"),
        (&format!("{HOST} "), "not a host's name"),
        ("a..b\n", "not a host's name"),
        (":443", "not a host's name"),
        ("[::1", "no \"]\""),
        ("[h]:443", "no IPv6 address"),
        ("::1", "no port"),
        (
            "a-ats.iot.eu-west-1.amazonaws.com",
            "iot:CredentialProvider",
        ),
        (&"a".repeat(254), "not a host's name"),
    ] {
        let set = [&rest[..], &[("IOT_CREDENTIAL_ENDPOINT", text)]].concat();
        let (names, said) = files.faults(&set);
        assert_eq!(names, ["IOT_CREDENTIAL_ENDPOINT"], "{text}");
        assert!(said.contains(problem), "{text}: {said}");
    }
}

#[test]
fn names_are_those_that_aws_takes() {
    let files = Files::new();
    let rest = [ENDPOINT, ALIAS, CERT, KEY];
    let long = "a".repeat(128);
    let too_long = "a".repeat(129);
    for (name, good, wrong) in [
        (
            "IOT_ROLE_ALIAS",
            &*long,
            [&*too_long, "a b", "a/b", "a?b", "\u{e9}", "a%"],
        ),
        (
            "IOT_THING_NAME",
            &long,
            [&too_long, "a b", "a=b", "a\r\nb: c", "\u{e9}", "a,b"],
        ),
    ] {
        let set = |value| [&rest[..], &[(name, value)]].concat();
        assert!(files.read(&set(good)).is_ok(), "{good}");
        for value in wrong {
            assert_eq!(files.faults(&set(value)).0, [name], "{value}");
        }
    }
}

#[test]
fn roles() {
    let role = |set: &[(&str, &str)]| with(set).unwrap().identity.role.unwrap();
    let set = [
        ("ASSUME_ROLE_ARN", ROLE),
        ("ASSUME_ROLE_EXTERNAL_ID", "line:3/_+=,.@-"),
        ("MQTT_CLIENT_ID", "press 7/\u{e9}"),
    ];
    let expected = RoleParameters {
        arn: ROLE.to_owned(),
        external_id: Some("line:3/_+=,.@-".to_owned()),
        session_name: "press-7--".to_owned(),
    };
    assert_eq!(role(&set), expected);
    let session =
        |id: &str| role(&[("ASSUME_ROLE_ARN", ROLE), ("MQTT_CLIENT_ID", id)]).session_name;
    assert_eq!(session(&"x".repeat(100)), "x".repeat(64));
    assert_eq!(session("x"), "kinesis-edge-x");
    assert!(with(&[("ASSUME_ROLE_ARN", "arn:aws-cn:iam::210987654321:role/r")]).is_ok());

    for (arn, problem) in [
        ("role", "it is not arn:"),
        (
            "arn:aws:iam:eu-west-1:210987654321:role/r",
            "it is not arn:",
        ),
        ("arn:aws:sts::210987654321:role/r", "it is not arn:"),
        ("arn:mars:iam::210987654321:role/r", "no partition"),
        ("arn:aws:iam::21098765432:role/r", "12 digits"),
        ("arn:aws:iam::21098765432x:role/r", "12 digits"),
        ("arn:aws:iam::210987654321:user/r", "no role's"),
        ("arn:aws:iam::210987654321:role/", "has 0 bytes"),
        ("arn:aws:iam::210987654321:role/a b", "' ' in it"),
        (&*format!("{ROLE}\n"), "in it"),
        (&*format!("{ROLE}{}", "x".repeat(2048)), "bytes"),
    ] {
        let said = bad("ASSUME_ROLE_ARN", arn).problem;
        assert!(said.contains(problem), "{arn}: {said}");
    }
    for id in ["x", "a b", "a\n", &"x".repeat(1225)] {
        let faults = with(&[("ASSUME_ROLE_ARN", ROLE), ("ASSUME_ROLE_EXTERNAL_ID", id)]);
        assert_eq!(
            faults.unwrap_err().0[0].parameter,
            "ASSUME_ROLE_EXTERNAL_ID"
        );
    }
}

#[test]
fn commands_that_send_know_who_the_device_is_without_the_rest() {
    let files = Files::new();
    let command = Command::new("drain").args(args_sending());
    let sending = |arguments: &[&str], broker: &[(&str, &str)]| {
        let arguments = std::iter::once(&"drain").chain(arguments);
        let matches = command.clone().try_get_matches_from(arguments).unwrap();
        let variable = |name: &str| {
            let found = broker.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let sources = Sources::new(&matches, &variable);
        sources.read(|lookup| {
            let mut reader = Reader::new(lookup);
            let identity = super::super::identity::read_alone(&mut reader);
            reader.finish(identity)
        })
    };
    let endpoint = format!("--iot-credential-endpoint={HOST}");
    let flags = [&*endpoint, "--iot-role-alias=a", "--assume-role-arn", ROLE];
    let path = files.path.as_str();
    let broker = [
        ("MQTT_CERT_FILE", path),
        ("MQTT_KEY_FILE", path),
        ("MQTT_CLIENT_ID", "press-7"),
        // Of no concern here.
        ("MQTT_URL", "wrong"),
        ("MEMORY_SIZE", "wrong"),
    ];
    let identity = sending(&flags, &broker).unwrap();
    assert_eq!(identity.iot.unwrap().cert_file, PathBuf::from(path));
    assert_eq!(identity.role.unwrap().session_name, "press-7");
    // Neither are the broker's files, unless they serve.
    let gone = [("MQTT_CERT_FILE", "/nonexistent"), ("MQTT_KEY_FILE", path)];
    assert_eq!(sending(&[], &gone), Ok(IdentityParameters::default()));
    let faults = sending(&flags[..2], &gone).unwrap_err();
    assert_eq!(faults.0[0].parameter, "MQTT_CERT_FILE");
}
