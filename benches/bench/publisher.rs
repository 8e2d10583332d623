//! The other clients of a real broker: an app that publishes requests as fast as it takes them, and
//! one that counts statuses.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread;

use super::common::PATIENCE;
use super::packets::{self, Packets, Version};
use super::payload::{Payload, TOPIC};
use super::statuses::Statuses;

/// Messages that may be under way un-acknowledged.
const WINDOW: u64 = 1000;

/// How much is written at a time.
const WRITE_BYTES: usize = 64 * 1024;

/// Publishes requests at QoS 1 over one connection of MQTT 3.1.1, and returns when the broker has
/// acknowledged all. One is enough to keep mosquitto's one thread busy.
pub fn publish(port: u16, mut numbers: Range<u64>, payload: &Payload) -> io::Result<()> {
    let mut app = App::connect(port, "publishing-app")?;
    let (mut sent, mut acknowledged, mut is_all) = (0u64, 0, false);
    let (mut message, mut out) = (Vec::new(), Vec::new());
    while !is_all || acknowledged < sent {
        while sent - acknowledged < WINDOW && out.len() < WRITE_BYTES {
            let Some(number) = numbers.next() else {
                is_all = true;
                break;
            };
            message.clear();
            payload.write(number, &mut message);
            let packet_id = (sent % u64::from(u16::MAX)) as u16 + 1;
            packets::write_publish(Version::V311, TOPIC, packet_id, &message, &mut out);
            sent += 1;
        }
        app.socket.write_all(&out)?;
        out.clear();
        if acknowledged < sent {
            app.packets.read(&mut app.socket)?;
        }
        while let Some(packet) = app.packets.next()? {
            if packet.kind() != packets::PUBACK {
                return Err(packets::unexpected(packet));
            }
            acknowledged += 1;
        }
    }
    Ok(())
}

/// Subscribes to the statuses and counts them on a thread of its own, until the broker is gone.
pub fn count_statuses(port: u16, statuses: Arc<Statuses>) -> io::Result<()> {
    let mut app = App::connect(port, "status-app")?;
    let mut out = vec![0, 1];
    packets::write_text(&format!("{TOPIC}/status"), &mut out);
    // QoS 1.
    out.push(1);
    let mut packet = Vec::new();
    packets::write_packet(packets::SUBSCRIBE << 4 | 2, &out, &mut packet);
    app.socket.write_all(&packet)?;
    app.packets.expect(packets::SUBACK, &mut app.socket)?;
    thread::spawn(move || {
        // It ends with the broker's; what is missing shows in the counts.
        let _ = app.count(&statuses);
    });
    Ok(())
}

/// A connection of MQTT 3.1.1 to a broker.
struct App {
    socket: TcpStream,
    packets: Packets,
}

impl App {
    fn connect(port: u16, client_id: &str) -> io::Result<Self> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut connect = Vec::new();
        packets::write_text("MQTT", &mut connect);
        // Version 4 is 3.1.1; a clean session; no keep-alive.
        connect.extend([4, 2, 0, 0]);
        packets::write_text(client_id, &mut connect);
        let mut out = Vec::new();
        packets::write_packet(packets::CONNECT << 4, &connect, &mut out);
        socket.write_all(&out)?;
        let mut packets = Packets::new();
        let answer = packets.expect(packets::CONNACK, &mut socket)?;
        if answer != [0, 0] {
            return Err(io::Error::other(format!("refused: {answer:?}")));
        }
        Ok(App { socket, packets })
    }

    fn count(&mut self, statuses: &Statuses) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            self.packets.read(&mut self.socket)?;
            while let Some(packet) = self.packets.next()? {
                let publish = packet.publish()?;
                statuses.count(publish.payload);
                if let Some(packet_id) = publish.packet_id {
                    packets::write_puback(packet_id, &mut out);
                }
            }
            self.socket.write_all(&out)?;
            out.clear();
        }
    }
}
