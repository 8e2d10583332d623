//! TLS to the broker: what is particular about MQTT over it.

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use crate::tls::{self, TlsError, TlsFiles};

/// Port 443 of AWS IoT Core tells MQTT from HTTPS by this protocol name (AWS IoT developer guide).
const IOT_CORE_PORT: u16 = 443;
const IOT_CORE_ALPN: &[u8] = b"x-amzn-mqtt-ca";

/// Reads the files into a client configuration for a broker on `port`.
///
/// # Errors
/// Says which file cannot be used, and why.
pub fn client_config(files: &TlsFiles, port: u16) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = tls::client_config(files)?;
    if port == IOT_CORE_PORT {
        config.alpn_protocols.push(IOT_CORE_ALPN.to_vec());
    }
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_443_asks_for_mqtt() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&ca, signed.cert.pem()).unwrap();
        let files = TlsFiles {
            ca: Some(ca),
            client: None,
        };
        assert_eq!(
            client_config(&files, 443).unwrap().alpn_protocols,
            [IOT_CORE_ALPN.to_vec()]
        );
        assert!(
            client_config(&files, 8883)
                .unwrap()
                .alpn_protocols
                .is_empty()
        );
    }
}
