//! Bare quinn, with the bridge's own settings and certificates.

use crate::{Result, node, say, say_trips};
use bytes::Bytes;
use memlane_bridge_quic::Transport;
use quinn::{Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const CHUNK_BYTES: usize = 64 << 10;
/// Trips before those that count.
const WARM_UP: usize = 500;

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    memlane_bridge_quic::enlarge_buffers(&socket, Transport::default().socket_buffer_bytes);
    Ok(socket)
}

fn endpoint(place: &Path, name: &str, is_server: bool) -> Result<Endpoint> {
    let (identity, transport) = (node::identity(place, name)?, Transport::default());
    let server = is_server.then(|| transport.server(&identity)).transpose()?;
    let mut endpoint = Endpoint::new(EndpointConfig::default(), server, socket()?, Arc::new(TokioRuntime))?;
    endpoint.set_default_client_config(transport.client(&identity)?);
    Ok(endpoint)
}

async fn connect(place: &Path, address: &str) -> Result<(Endpoint, quinn::Connection)> {
    let endpoint = endpoint(place, "tokyo", false)?;
    let connection = endpoint.connect(address.parse()?, "osaka.memlane")?.await?;
    Ok((endpoint, connection))
}

/// Reads what comes on a stream, and says how long that took; or echoes.
pub(crate) async fn serve(place: &Path) -> Result<()> {
    let endpoint = endpoint(place, "osaka", true)?;
    say(&endpoint.local_addr()?.to_string());
    let connection = endpoint.accept().await.ok_or("it is closed")?.await?;
    tokio::select! {
        stream = connection.accept_uni() => read(stream?).await,
        streams = connection.accept_bi() => echo(streams?).await,
    }
}

async fn read(mut stream: RecvStream) -> Result<()> {
    let mut begun = None;
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
        begun.get_or_insert_with(Instant::now);
        drop(chunk);
    }
    say(&begun.map_or(0, |begun| begun.elapsed().as_nanos()).to_string());
    std::future::pending().await
}

async fn echo((mut send, mut receive): (SendStream, RecvStream)) -> Result<()> {
    let mut message = [0; 64];
    while receive.read_exact(&mut message).await.is_ok() {
        send.write_all(&message).await?;
    }
    Ok(())
}

/// Sends so many bytes.
pub(crate) async fn send(place: &Path, address: &str, bytes: usize) -> Result<()> {
    let messages = vec![7; bytes];
    say("ready");
    let (_endpoint, connection) = connect(place, address).await?;
    let mut stream = connection.open_uni().await?;
    // As those of a topic they lie in memory, and are read once.
    for chunk in messages.chunks(CHUNK_BYTES) {
        stream.write_chunk(Bytes::copy_from_slice(chunk)).await?;
    }
    stream.finish()?;
    let _ = stream.stopped().await;
    say("sent");
    std::future::pending().await
}

/// So many round trips.
pub(crate) async fn ping(place: &Path, address: &str, trips: usize) -> Result<()> {
    let (_endpoint, connection) = connect(place, address).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let (mut message, mut took) = ([7; 64], Vec::with_capacity(trips));
    for trip in 0..trips + WARM_UP {
        let begun = Instant::now();
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
        if trip >= WARM_UP {
            took.push(begun.elapsed().as_nanos() as f64);
        }
    }
    say_trips(took);
    Ok(())
}
