//! Messages by their fields, as text, as hexadecimal digits, as they are, or as JSON.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use clap::ValueEnum;
use memlane::{LastValues, Received, Shape, Topic};
use serde::Serialize;

use super::fields::{self, Shown};
use crate::commands::output::Output;

/// How a message is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    // By the names of its fields, if the topic describes its type; else as text.
    Fields,
    // A line of text for each message.
    Text,
    // A line of hexadecimal digits for each message.
    Hex,
    // The bytes as they are, with nothing in between.
    Raw,
}

/// What is printed before a message, each with a tab behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) positions: bool,
    pub(super) keys: bool,
    pub(super) stamps: bool,
    pub(super) headers: bool,
}

/// Prints messages.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) output: Output,
    /// What stamps are read by, if there is one topic.
    topic: Option<Topic>,
    /// Of the next messages, where there are several topics.
    topic_name: Option<String>,
    /// How the next messages are read, if their topic says so.
    shape: Option<Rc<Shape>>,
    /// The same of each topic that there was, where there are several.
    shapes: HashMap<String, Option<Rc<Shape>>>,
    format: Format,
    json: bool,
    columns: Columns,
    line: Vec<u8>,
}

/// A message with all that belongs to it.
#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    position: u64,
    publisher: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp_unix_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, String>,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// By the names of its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Shown<'a>>,
    /// Why it could not be read by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// The payload, if it isn't text or wasn't to be shown as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// That the last values are over, and where what comes begins.
#[derive(Debug, Serialize)]
struct Live {
    event: &'static str,
    position: u64,
    keys: usize,
}

impl Printer {
    /// Of messages of `topic`; without one, of several, each of which is told by [`Printer::of_topic`].
    pub(super) fn new(output: Output, topic: Option<&Topic>, format: Format, json: bool, columns: Columns) -> Self {
        let shape = topic.filter(|_| format == Format::Fields).and_then(fields::shape_of);
        let (topic, topic_name, shapes, line) = (topic.cloned(), None, HashMap::new(), Vec::new());
        Self { output, topic, topic_name, shape, shapes, format, json, columns, line }
    }

    /// The next messages are of this topic, which is printed with each. `open` is asked for a topic that is new, or was forgotten.
    pub(super) fn of_topic(&mut self, name: &str, open: impl FnOnce() -> Option<Topic>) {
        if self.topic_name.as_deref() != Some(name) {
            self.topic_name = Some(name.to_owned());
            if self.format == Format::Fields {
                let shape = || open().as_ref().and_then(fields::shape_of);
                self.shape = self.shapes.entry(name.to_owned()).or_insert_with(shape).clone();
            }
        }
    }

    /// Prints the last message of each key; as JSON also the position that they are the state at.
    pub(super) fn last_values(&mut self, values: &LastValues<[u8]>) -> anyhow::Result<()> {
        for received in values.iter() {
            self.print("last_value", &received?)?;
        }
        if self.json {
            self.output.json(&Live { event: "live", position: values.position(), keys: values.len() })?;
        }
        Ok(())
    }

    /// A topic may have gone, and another one with its name may carry another type.
    pub(super) fn forget_topics(&mut self) {
        self.topic_name = None;
        self.shapes.clear();
    }

    /// Prints a message.
    pub(super) fn message(&mut self, received: &Received<'_, [u8]>) -> anyhow::Result<()> {
        self.print("message", received)
    }

    fn print(&mut self, event: &'static str, received: &Received<'_, [u8]>) -> anyhow::Result<()> {
        if self.json {
            return self.message_as_json(event, received);
        }
        if self.format == Format::Raw {
            return self.output.bytes(received.view);
        }
        self.line.clear();
        self.put_columns(received);
        match (self.format, &self.shape) {
            (Format::Hex, _) => put_hex(&mut self.line, received.view),
            (Format::Fields, Some(shape)) => match shape.read(received.view) {
                Ok(value) => put_text(&mut self.line, fields::as_line(&value)?.as_bytes()),
                Err(error) => {
                    put_hex(&mut self.line, received.view);
                    self.line.extend_from_slice(format!(" ({error})").as_bytes());
                }
            },
            _ => put_text(&mut self.line, received.view),
        }
        self.line.push(b'\n');
        self.output.bytes(&self.line)
    }

    fn put_columns(&mut self, received: &Received<'_, [u8]>) {
        let line = &mut self.line;
        if let Some(name) = &self.topic_name {
            line.extend_from_slice(name.as_bytes());
            line.push(b'\t');
        }
        if self.columns.positions {
            line.extend_from_slice(received.position.to_string().as_bytes());
            line.push(b'\t');
        }
        if self.columns.keys {
            put_text(line, received.key().ok().flatten().unwrap_or_default());
            line.push(b'\t');
        }
        if self.columns.stamps
            && let (Some(topic), Some(stamp)) = (&self.topic, received.stamp())
        {
            let time = UNIX_EPOCH + Duration::from_nanos(topic.stamp_unix_ns(stamp));
            line.extend_from_slice(humantime::format_rfc3339_nanos(time).to_string().as_bytes());
            line.push(b'\t');
        }
        if self.columns.headers {
            for (index, (key, value)) in received.headers().enumerate() {
                if index > 0 {
                    line.push(b' ');
                }
                put_text(line, key.as_bytes());
                line.push(b'=');
                put_text(line, value);
            }
            line.push(b'\t');
        }
    }

    fn message_as_json(&mut self, event: &'static str, received: &Received<'_, [u8]>) -> anyhow::Result<()> {
        let read = self.shape.as_ref().map(|shape| shape.read(received.view));
        let (value, unreadable) = match &read {
            Some(Ok(value)) => (Some(value), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let is_text = self.format != Format::Hex && read.is_none();
        let text = std::str::from_utf8(received.view).ok().filter(|_| is_text);
        let headers = received.headers().map(|(key, value)| (key, String::from_utf8_lossy(value).into_owned()));
        self.output.json(&Message {
            event,
            topic: self.topic_name.as_deref(),
            position: received.position,
            publisher: received.publisher(),
            stamp_unix_ns: self.topic.as_ref().zip(received.stamp()).map(|(topic, stamp)| topic.stamp_unix_ns(stamp)),
            key: received.key().ok().flatten().map(|key| String::from_utf8_lossy(key).into_owned()),
            headers: headers.collect(),
            bytes: received.view.len(),
            text,
            message: value.map(Shown),
            unreadable,
            hex: (text.is_none() && value.is_none()).then(|| hex(received.view)),
        })
    }
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = Vec::new();
    put_hex(&mut digits, bytes);
    String::from_utf8_lossy(&digits).into_owned()
}

/// Two digits for each byte.
fn put_hex(line: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]));
}

/// Text as it is, on one line: control characters but the tab, and bytes that are no UTF-8, in escapes.
pub(in crate::commands) fn put_text(line: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |character: char| !character.is_control() || character == '\t';
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        if valid.chars().all(is_plain) {
            line.extend_from_slice(valid.as_bytes());
        } else {
            for character in valid.chars() {
                if is_plain(character) {
                    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    line.extend_from_slice(character.escape_default().to_string().as_bytes());
                }
            }
        }
        line.extend_from_slice(chunk.invalid().escape_ascii().to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut line = Vec::new();
        put_text(&mut line, bytes);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn text_stays_as_it_is_and_on_one_line() {
        assert_eq!(text("{\"a\": \"b\\n\"}\tµ".as_bytes()), "{\"a\": \"b\\n\"}\tµ");
        assert_eq!(text(b"two\nlines"), "two\\nlines");
    }

    #[test]
    fn terminals_get_no_control_characters_and_no_strange_bytes() {
        assert_eq!(text(b"\x1b[2J\xff\x00ok"), "\\u{1b}[2J\\xff\\u{0}ok");
        for byte in 0..=255_u8 {
            assert!(text(&[byte]).chars().all(|character| character == '\t' || !character.is_control()), "{byte}");
        }
    }

    #[test]
    fn each_byte_is_two_digits() {
        let mut line = Vec::new();
        put_hex(&mut line, b"\x00\xff\x1a");
        assert_eq!(line, b"00ff1a");
    }
}
