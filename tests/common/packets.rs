//! MQTT packets as a broker of a few lines reads them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Type and flags of the next packet, and what follows its length.
pub async fn packet(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = from.read_u8().await?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = from.read_u8().await?;
        length |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok((first, body))
}
