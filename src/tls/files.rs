//! Certificates and keys from PEM files, and what a file has instead where it has none.

use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = text_of(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| malformed(path, &error))?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
            instead: instead(&text, path, Wanted::Certificate),
        });
    }
    Ok(found)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path_of = || path.to_owned();
    let text = text_of(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        // In a line of its own form, or in a line that is no base64.
        _ if has(&text, "ENCRYPTED") => TlsError::EncryptedKey { path: path_of() },
        pem::Error::NoItemsFound => TlsError::NoPrivateKey {
            path: path_of(),
            instead: instead(&text, path, Wanted::Key),
        },
        error => malformed(path, &error),
    })
}

/// A file without the mark that some editors put before a text in UTF-8.
fn text_of(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = std::fs::read(path).map_err(|source| TlsError::File {
        path: path.to_owned(),
        source,
    })?;
    if text.starts_with(UTF8_MARK) {
        text.drain(..UTF8_MARK.len());
    }
    Ok(text)
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// In words of ours, since the library's quote the line: where a file has no ends of lines, that is the whole key.
fn malformed(path: &Path, error: &pem::Error) -> TlsError {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no END",
        pem::Error::IllegalSectionStart { .. } => "a line with BEGIN does not end with five dashes",
        pem::Error::Base64Decode(_) => "what stands in a block is not base64",
        _ => "it cannot be read",
    };
    TlsError::Malformed {
        path: path.to_owned(),
        problem,
    }
}

/// What a file is there for.
#[derive(Clone, Copy)]
enum Wanted {
    Certificate,
    Key,
}

/// What a file has that has no PEM block of the kind that is looked for, in words that go on a sentence.
fn instead(text: &[u8], path: &Path, wanted: Wanted) -> String {
    const DER_SEQUENCE: u8 = 0x30;
    const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    let (command, wanted) = match wanted {
        Wanted::Certificate => ("x509", "a certificate"),
        Wanted::Key => ("pkey", "a private key"),
    };
    let known = [
        (
            "BEGIN CERTIFICATE REQUEST-----",
            "a request for a certificate",
        ),
        ("BEGIN CERTIFICATE-----", "a certificate"),
        (
            "BEGIN OPENSSH PRIVATE KEY-----",
            "a key in the form of OpenSSH",
        ),
        ("PRIVATE KEY-----", "a private key"),
        ("BEGIN PUBLIC KEY-----", "a public key"),
    ];
    let known = known.iter().find(|(mark, _)| has(text, mark));
    match (text.first(), known) {
        (None, _) => ", as it is empty".to_owned(),
        (_, Some((_, what))) if *what == wanted => {
            ", or its lines are not those of PEM: the one with BEGIN begins with dashes, and has no other text".to_owned()
        }
        (_, Some((_, what))) => format!(", but {what}: is it the file of another parameter?"),
        (Some(&DER_SEQUENCE), _) => {
            let path = path.display();
            format!(
                ", or it is in DER form, which openssl {command} -inform DER -in {path} -out NEW_FILE writes as PEM"
            )
        }
        _ if UTF16_MARKS.iter().any(|mark| text.starts_with(mark)) => {
            ", as its text is in UTF-16: save it as UTF-8".to_owned()
        }
        _ => String::new(),
    }
}

fn has(text: &[u8], mark: &str) -> bool {
    memchr::memmem::find(text, mark.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::{TlsFiles, client_config};

    /// A certificate, its key, and both in DER.
    fn pair() -> (String, String, Vec<u8>, Vec<u8>) {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = &signed.signing_key;
        let (der, key_der) = (signed.cert.der().to_vec(), key.serialize_der());
        (signed.cert.pem(), key.serialize_pem(), der, key_der)
    }

    /// What is said of a certificate and a key of these bytes; empty where they are taken.
    fn told(certificate: &[u8], key: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = [("of.crt", certificate), ("of.key", key)].map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        });
        let files = TlsFiles {
            ca: Some(certificate.clone()),
            client: Some((certificate, key)),
        };
        client_config(&files).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_a_file_has_instead_of_a_key_is_told_and_what_to_do() {
        let (certificate, key, _, key_der) = pair();
        let utf16: Vec<u8> = "\u{feff}"
            .encode_utf16()
            .chain(key.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let encrypted_of_old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
             -----END RSA PRIVATE KEY-----\n";
        let decrypt = ["is encrypted", "openssl pkey -in ", "of.key -out"];
        let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let none = "there is no private key in this file";
        let needed = "BEGIN PRIVATE KEY is needed";
        for (bytes, says) in [
            (encrypted.as_bytes(), decrypt),
            (encrypted_of_old.as_bytes(), decrypt),
            (
                certificate.as_bytes(),
                [none, "but a certificate: is it", needed],
            ),
            (public.as_bytes(), [none, "but a public key: is it", needed]),
            (&key_der, [none, "openssl pkey -inform DER -in ", needed]),
            (&utf16, [none, "save it as UTF-8", needed]),
            (b"", [none, "it is empty", needed]),
            (b"key", [none, "file; a PEM block", needed]),
            (
                format!(" {key}").as_bytes(),
                [none, "its lines are not those of PEM", needed],
            ),
        ] {
            let told = told(certificate.as_bytes(), bytes);
            for part in says.iter().chain(&["of.key: "]) {
                assert!(told.contains(part), "{told:?} has no {part:?}");
            }
        }
    }

    #[test]
    fn what_a_file_has_instead_of_a_certificate_is_told_and_what_to_do() {
        let (_, key, der, _) = pair();
        let request =
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        for (bytes, says) in [
            (key.as_bytes(), "but a private key: is it"),
            (request.as_bytes(), "but a request for a certificate"),
            (&der, "openssl x509 -inform DER -in "),
            (b"", "it is empty"),
        ] {
            let told = told(bytes, key.as_bytes());
            for part in [
                "of.crt: there is no certificate in this file",
                says,
                "BEGIN CERTIFICATE are needed",
            ] {
                assert!(told.contains(part), "{told:?} has no {part:?}");
            }
        }
    }

    /// The key itself is in none of the messages.
    #[test]
    fn what_is_wrong_with_a_key_is_told_without_the_key() {
        let (certificate, key, ..) = pair();
        let secret = key.lines().nth(1).unwrap();
        // As the library would have it in its message.
        let secret_bytes = format!("{:?}", &secret.as_bytes()[20..30]);
        let secret_bytes = secret_bytes.trim_matches(['[', ']']);
        for (damaged, says) in [
            (key.replace('\n', " "), "has no END"),
            (key.replacen("-\n", "-", 1), "does not end with five dashes"),
            (key.replace(&secret[..1], "-"), "is not base64"),
            (
                key.split("-----END").next().unwrap().to_owned(),
                "has no END",
            ),
        ] {
            let told = told(certificate.as_bytes(), damaged.as_bytes());
            assert!(told.contains("of.key: this file is not PEM"), "{told}");
            assert!(told.contains(says), "{told}");
            assert!(!told.contains(&secret[20..30]), "{told}");
            assert!(!told.contains(secret_bytes), "{told}");
        }
    }

    /// As some editors write it.
    #[test]
    fn files_may_begin_with_the_mark_of_utf_8_and_have_other_ends_of_lines() {
        let (certificate, key, ..) = pair();
        let edited = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let told = told(edited(&certificate).as_bytes(), edited(&key).as_bytes());
        assert_eq!(told, "");
    }
}
