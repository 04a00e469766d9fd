//! A peer that says by hand whatever it likes, over QUIC and with a good certificate.

use crate::scene::Scene;
use memlane_bridge_protocol::layout::{FLOW_MAGIC, VERSION_MAX, VERSION_MIN};
use memlane_bridge_protocol::{Batch, BatchHead, Control, Features, Hello, Message, Mode, Open, Packer, Topic, Want};
use memlane_bridge_quic::{Identity, Transport, server_name};
use memlane_ring::FrameShape;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What is needed to be one: it can be taken to another thread.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) client: ClientConfig,
}

/// A connection of one, with its control stream.
pub(crate) struct Liar {
    pub(crate) quic: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    heard: Vec<u8>,
    _endpoint: Endpoint,
}

impl Scene {
    /// The adversary's, with a good certificate and QUIC's usual settings.
    pub(crate) fn mask(&self, name: &str) -> Mask {
        let node = self.world.node(name);
        self.mask_of(&node.identity, Transport::default())
    }

    pub(crate) fn mask_of(&self, identity: &Arc<Identity>, transport: Transport) -> Mask {
        let client = transport.client(identity).unwrap();
        Mask { name: identity.name(), address: self.address, client }
    }
}

impl Mask {
    /// Connects, and does nothing more.
    pub(crate) async fn connect(&self) -> Result<(Endpoint, Connection), ConnectionError> {
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let name = server_name("tokyo").unwrap();
        let connecting = endpoint.connect_with(self.client.clone(), self.address, &name.to_str()).unwrap();
        let quic = connecting.await?;
        Ok((endpoint, quic))
    }

    /// Connects, and opens a control stream on which nothing was said yet.
    pub(crate) async fn come(&self) -> Liar {
        let (endpoint, quic) = self.connect().await.unwrap();
        let (send, receive) = quic.open_bi().await.unwrap();
        Liar { quic, send, receive, heard: Vec::new(), _endpoint: endpoint }
    }

    /// Connects, and greets as it should.
    pub(crate) async fn greet(&self) -> Liar {
        let mut liar = self.come().await;
        liar.say(&hello((VERSION_MIN, VERSION_MAX), &self.name)).await;
        let heard = liar.hear().await;
        assert!(matches!(heard, Some(Control::Welcome(_))), "{heard:?}");
        liar
    }
}

impl Liar {
    /// Says it; nothing is heard of it if the other end has gone.
    pub(crate) async fn say(&mut self, message: &Control) {
        self.write(&message.encode()).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.send.write_all(bytes).await;
    }

    /// The next message that isn't about time; `None` once the connection has ended.
    pub(crate) async fn hear(&mut self) -> Option<Control> {
        loop {
            match Control::decode(&self.heard).unwrap() {
                Some((message, length)) => {
                    self.heard.drain(..length);
                    match message {
                        Some(Control::Ping { .. } | Control::Pong { .. }) | None => {}
                        message => return message,
                    }
                }
                None => {
                    let chunk = self.receive.read_chunk(1 << 20, true).await.ok()??;
                    self.heard.extend_from_slice(&chunk.bytes);
                }
            }
        }
    }

    /// The first message of which `pick` makes something.
    ///
    /// # Panics
    /// If the connection ends before.
    pub(crate) async fn hear_out<T>(&mut self, mut pick: impl FnMut(&Control) -> Option<T>) -> T {
        loop {
            let message = self.hear().await.expect("the connection ends before it came");
            if let Some(picked) = pick(&message) {
                return picked;
            }
        }
    }

    /// Waits until the other end closes it.
    pub(crate) async fn is_left(&self) -> ConnectionError {
        self.quic.closed().await
    }

    /// Offers a topic that may be given, and waits until it is taken.
    pub(crate) async fn offer(&mut self, flow: u32, mode: Mode, topic: Topic) {
        self.say(&open(flow, mode, topic)).await;
        self.hear_out(|message| matches!(message, Control::Accept { flow: its, .. } if *its == flow).then_some(()))
            .await;
        if mode != Mode::Latest {
            let is_credit = |message: &Control| matches!(message, Control::Credit { flow: its, .. } if *its == flow);
            self.hear_out(|message| is_credit(message).then_some(())).await;
        }
    }

    /// A stream of a flow.
    pub(crate) async fn stream(&self, flow: u32) -> SendStream {
        let mut stream = self.quic.open_uni().await.unwrap();
        stream.write_all(&flow_head(flow)).await.unwrap();
        stream
    }
}

pub(crate) fn hello(versions: (u16, u16), name: &str) -> Control {
    let features = Features(Features::ZSTD.0 | Features::LZ4.0);
    Control::Hello(Hello { versions, features, name: name.to_owned(), sent_unix_ns: 1 })
}

pub(crate) fn want(want: u32, mode: Mode, pattern: &str) -> Control {
    Control::Want(Want { want, mode, compression: Features(0), pattern: pattern.to_owned() })
}

pub(crate) fn open(flow: u32, mode: Mode, topic: Topic) -> Control {
    Control::Open(Open { flow, mode, want: 0, topic })
}

pub(crate) fn flow_head(flow: u32) -> Vec<u8> {
    [FLOW_MAGIC.to_le_bytes(), flow.to_le_bytes()].concat()
}

pub(crate) const SHAPE: FrameShape =
    FrameShape { capacity: 1 << 16, cell: 64, payload_at: 8, body_max: 4096, stamps: false };

/// A topic as it should be.
pub(crate) fn topic(name: &str) -> Topic {
    Topic {
        name: name.to_owned(),
        epoch: 9,
        cell: SHAPE.cell as u32,
        capacity: SHAPE.capacity,
        payload_at: SHAPE.payload_at as u32,
        payload_align: 8,
        body_max: SHAPE.body_max,
        ..Topic::default()
    }
}

/// A batch of so many messages of eight bytes from a position on, with its bytes.
pub(crate) fn batch(from: u64, count: u64) -> (Batch, Vec<u8>) {
    let mut packer = Packer::new(SHAPE);
    packer.begin(from);
    for number in 0..count {
        let position = from + number * SHAPE.cell;
        let content = number.to_le_bytes();
        assert!(packer.push(&Message { position, unix_ns: 0, has_extensions: false, content: &content }));
    }
    packer.finish(from + count * SHAPE.cell)
}

/// The same as it goes on a stream.
pub(crate) fn packed((batch, bytes): (Batch, Vec<u8>)) -> Vec<u8> {
    [&BatchHead::Batch(batch).encode()[..], &bytes].concat()
}

pub(crate) fn gap(position: u64, end: u64) -> Vec<u8> {
    BatchHead::Gap { position, end }.encode().to_vec()
}
