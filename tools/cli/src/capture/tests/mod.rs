//! Tests of the readers against hand-made, generated, damaged and real captures.

mod damage;
mod facts;
mod lines;
mod opening;
mod pcap;
mod pcap_writer;
mod sequences;

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Capture, CaptureError, ProblemKind, from_reader};

/// Opens bytes.
fn open_bytes(bytes: &[u8]) -> Result<Capture, CaptureError> {
    from_reader(Cursor::new(bytes.to_vec()))
}

/// Every message with its receive time, and the error that ended the reading, if one did.
fn drain(capture: &mut Capture) -> (Vec<(u64, Vec<u8>)>, Option<CaptureError>) {
    let mut messages = Vec::new();
    let mut failure = None;
    while let Some(message) = capture.next_message() {
        match message {
            Ok(message) => messages.push((message.received_ns, message.bytes.to_vec())),
            Err(error) => failure = Some(error),
        }
    }
    assert!(capture.next_message().is_none(), "the end is final");
    assert_eq!(capture.summary().messages, messages.len() as u64);
    (messages, failure)
}

/// Every message of a capture that can be read to its end, without the receive times.
fn messages(capture: &mut Capture) -> Vec<Vec<u8>> {
    let (messages, failure) = drain(capture);
    assert!(failure.is_none(), "{failure:?}");
    messages.into_iter().map(|(_, bytes)| bytes).collect()
}

/// What kinds of problems there are, and where: number of the packet or line.
fn problems(capture: &Capture) -> Vec<(ProblemKind, u64)> {
    capture.problems().iter().map(|problem| (problem.kind, problem.number)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
