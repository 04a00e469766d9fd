//! Does what a script says, on a real topic, and compares what comes of it with the model.

use crate::model::{Entry, Model, State, payload};
use crate::reader::{Eyes, Reader, check, start};
use crate::script::{Begin, Length, Outcome, Shape, Step};
use crate::writer::Writer;
use memlane_ring::extension::Block;
use memlane_ring::{ClaimError, Origin, Permissions, Publishers, Topic, TopicOptions};
use memlane_shm::MapOptions;
use std::path::Path;
use std::time::Duration;

const READERS_MAX: usize = 6;

/// A topic, those who take part in it, and what should be in it.
struct Run {
    topic: Topic,
    model: Model,
    writers: Vec<Writer>,
    /// What each writer claimed and hasn't ended.
    claims: Vec<Option<Entry>>,
    readers: Vec<Reader>,
    /// Where a message is that somebody looks at, who is none of `readers` meanwhile.
    held: Option<u64>,
    messages_count: u64,
}

/// Runs `steps` on a topic of its own.
pub(crate) fn run(root: &Path, options: &TopicOptions, begin: Begin, steps: &[Step]) {
    let path = root.join("topic");
    // A script that failed before left its own behind.
    let _ = memlane_shm::named::remove_directory(&path);
    let (map, permissions, begin) = (MapOptions::default(), Permissions::default(), begin.position(options));
    let topic = if begin == 0 {
        Topic::create(&path, options, &permissions, &map).unwrap()
    } else {
        let origin = Origin { epoch: 7, position: begin, messages: 0, sources: &[], last: &[] };
        Topic::create_at(&path, options, &permissions, &map, "", &origin).unwrap()
    };
    let count = if let Publishers::Many(count) = options.publishers { count } else { 1 };
    let writers: Vec<_> = (0..count).map(|_| attach(&topic)).collect();
    let claims = vec![None; writers.len()];
    let (model, readers) = (Model::new(options, begin), Vec::new());
    let mut run = Run { topic, model, writers, claims, readers, held: None, messages_count: 0 };
    for step in steps {
        run.step(step);
    }
    for writer in 0..run.writers.len() {
        run.finish(writer, Outcome::Abort);
    }
    run.drain();
    assert_eq!(run.topic.snapshot().unwrap().tail, run.model.tail);
}

fn attach(topic: &Topic) -> Writer {
    Writer::new(topic.publisher(&MapOptions::default(), Duration::ZERO).unwrap())
}

impl Run {
    fn step(&mut self, step: &Step) {
        let writer_of = |writer: &usize| writer % self.writers.len();
        match step {
            Step::Publish { writer, shape } => self.publish(writer_of(writer), *shape),
            Step::Batch { writer, lengths } => self.batch(writer_of(writer), lengths),
            Step::Claim { writer, shape } => self.claim(writer_of(writer), *shape),
            Step::Finish { writer, outcome } => self.finish(writer_of(writer), *outcome),
            Step::Replace { writer } => self.replace(writer_of(writer)),
            Step::Join { kind, from } if self.readers.len() < READERS_MAX => {
                let start = start(&self.model, *from);
                self.readers.extend(Reader::join(&self.topic, &self.model, *kind, start));
            }
            Step::Join { .. } => {}
            Step::Drain => self.drain(),
            Step::Leave { reader }
            | Step::Read { reader, .. }
            | Step::ReadBatch { reader, .. }
            | Step::Hold { reader, .. }
                if !self.readers.is_empty() =>
            {
                self.reader_step(reader % self.readers.len(), step);
            }
            Step::Leave { .. } | Step::Read { .. } | Step::ReadBatch { .. } | Step::Hold { .. } => {}
        }
    }

    fn reader_step(&mut self, reader: usize, step: &Step) {
        match step {
            Step::Leave { .. } => drop(self.readers.swap_remove(reader)),
            Step::Read { messages_max, .. } => {
                for _ in 0..*messages_max {
                    self.readers[reader].read(&self.model);
                }
            }
            Step::ReadBatch { messages_max, .. } => self.readers[reader].read_batch(&self.model, *messages_max),
            Step::Hold { writer, shapes, .. } => {
                let mut reader = self.readers.swap_remove(reader);
                self.hold(&mut reader, writer % self.writers.len(), shapes);
                self.readers.push(reader);
            }
            _ => unreachable!("the others are steps of writers"),
        }
    }

    /// Everybody reads to the end.
    fn drain(&mut self) {
        for reader in &mut self.readers {
            while reader.read(&self.model) {}
        }
    }

    /// `reader`, which was taken out, looks at a message before and after others are published.
    fn hold(&mut self, reader: &mut Reader, writer: usize, shapes: &[Shape]) {
        let Reader { eyes: Eyes::Gated(gated), cursor, .. } = reader else { return };
        let next = self.model.next(*cursor);
        if let Some(frame) = gated.poll().unwrap() {
            let entry = next.message(frame.position());
            self.held = Some(entry.position);
            for shape in shapes {
                check(self.topic.geometry(), &entry, frame.word(), frame.body());
                self.publish(writer, *shape);
            }
            check(self.topic.geometry(), &entry, frame.word(), frame.body());
            *cursor = entry.end;
        } else {
            *cursor = next.nothing();
        }
        self.held = None;
    }

    /// Everything from here on is still needed.
    fn needed_from(&self) -> u64 {
        let gates = self.readers.iter().filter_map(Reader::holds).chain(self.held);
        gates.chain(self.model.first_open()).min().unwrap_or(self.model.tail).min(self.model.tail)
    }

    /// Compares what came of asking for `bytes` bytes in one piece with what had to; gives the position if there was room.
    fn settle<T>(&mut self, bytes: u64, result: &Result<T, ClaimError>) -> Option<u64> {
        let needed = self.needed_from();
        let model = &mut self.model;
        let position = model.place(bytes);
        // A cell more: whoever waits at the end must find nothing there.
        let end = position + bytes + model.cell;
        let (free_end, was_free) = (needed + model.capacity, result.is_ok());
        if was_free {
            assert!(end <= free_end, "what is needed from {needed} on was written over up to {end}");
            return Some(position);
        }
        assert_eq!(result.as_ref().err(), Some(&ClaimError::Full));
        if model.many {
            assert!(end > free_end, "full, and only {needed} to {} are needed", model.tail);
            if position + model.cell <= free_end {
                // The end of the lap was padded all the same.
                model.tail = position;
            }
        } else {
            // One publisher makes room by stretches, and frees what was published together together.
            let free_end = model.batch_of(needed) + model.capacity - model.stretch();
            assert!(end > free_end, "full, and only {needed} to {} are needed", model.tail);
        }
        None
    }

    /// The number of the next message, and its extensions.
    fn next_message(&mut self, header_bytes: Option<usize>) -> (u64, Vec<u8>) {
        self.messages_count += 1;
        let mut block = Block::default();
        if let Some(bytes) = header_bytes {
            block.user_header("key", payload(self.messages_count + 1, bytes as u64)).unwrap();
        }
        (self.messages_count, block.finish(self.topic.geometry().payload_align).to_vec())
    }

    fn publish(&mut self, writer: usize, shape: Shape) {
        if self.writers[writer].has_claim() {
            return;
        }
        let (number, extensions) = self.next_message(shape.header_bytes);
        let payload_bytes = shape.length.bytes(&self.model, extensions.len() as u64);
        let result = self.writers[writer].publisher().publish(&extensions, payload(number, payload_bytes));
        if let Length::TooLong = shape.length {
            return assert_eq!(result, Err(ClaimError::TooLong));
        }
        let frame = self.model.frame_bytes(extensions.len() as u64 + payload_bytes);
        let Some(position) = self.settle(frame, &result) else { return };
        assert_eq!(result, Ok(position));
        let header_bytes = shape.header_bytes;
        self.add(position, position, frame, Entry { number, payload_bytes, header_bytes, ..Entry::of(writer) });
    }

    /// Adds a message that is there.
    fn add(&mut self, batch: u64, position: u64, frame: u64, entry: Entry) {
        let end = position + frame;
        self.model.entries.push(Entry { batch, position, end, claim_end: end, state: State::Committed, ..entry });
        self.model.tail = end;
    }

    fn batch(&mut self, writer: usize, lengths: &[Length]) {
        if self.writers[writer].has_claim() {
            return;
        }
        let first_number = self.messages_count + 1;
        let sizes: Vec<u64> = lengths.iter().map(|length| length.bytes(&self.model, 0)).collect();
        let payloads: Vec<_> = (first_number..).zip(&sizes).map(|(number, bytes)| payload(number, *bytes)).collect();
        self.messages_count += lengths.len() as u64;
        let result = self.writers[writer].publisher().publish_batch(&payloads);
        if let Length::TooLong = lengths[0] {
            return assert_eq!(result, Err(ClaimError::TooLong));
        }
        let fits = sizes.iter().take_while(|bytes| **bytes <= self.model.payload_bytes_max);
        let mut frames: Vec<u64> = fits.map(|bytes| self.model.frame_bytes(*bytes)).collect();
        if self.model.many {
            // As many as fit a quarter of the ring, in one piece.
            let mut sum = 0;
            frames.retain(|frame| {
                sum += frame;
                sum <= self.model.capacity / 4
            });
            assert!(result.is_err() || result == Ok(frames.len()));
        } else {
            frames.truncate(result.unwrap_or(1));
            assert_eq!(result.unwrap_or(1), frames.len());
        }
        let Some(first) = self.settle(frames.iter().sum(), &result) else { return };
        for (index, frame) in frames.iter().enumerate() {
            let position = if index == 0 { first } else { self.model.tail };
            let (number, payload_bytes) = (first_number + index as u64, sizes[index]);
            self.add(first, position, *frame, Entry { number, payload_bytes, ..Entry::of(writer) });
        }
    }

    /// Opens a claim.
    fn claim(&mut self, writer: usize, shape: Shape) {
        if self.writers[writer].has_claim() {
            return;
        }
        let (number, extensions) = self.next_message(shape.header_bytes);
        let extension_bytes = extensions.len() as u64;
        let payload_bytes = shape.length.bytes(&self.model, extension_bytes);
        let claim = self.writers[writer].open(&extensions, payload_bytes as usize);
        let result = claim.map(|claim| {
            claim.payload().copy_from_slice(payload(number, payload_bytes));
            claim.position()
        });
        if let Length::TooLong = shape.length {
            return assert_eq!(result, Err(ClaimError::TooLong));
        }
        let frame = self.model.frame_bytes(extension_bytes + payload_bytes);
        let Some(position) = self.settle(frame, &result) else { return };
        assert_eq!(result, Ok(position));
        let (batch, header_bytes, end) = (position, shape.header_bytes, position + frame);
        let what = Entry { number, payload_bytes, extension_bytes, header_bytes, ..Entry::of(writer) };
        let entry = Entry { batch, position, end, claim_end: end, ..what };
        self.claims[writer] = Some(entry);
        if self.model.many {
            self.model.entries.push(entry);
            self.model.tail = end;
        } else {
            self.model.tail = position;
        }
    }

    /// Ends the claim that is open, if one is.
    fn finish(&mut self, writer: usize, outcome: Outcome) {
        let Some(mut entry) = self.claims[writer].take() else { return };
        let claimed = entry.payload_bytes;
        entry.state = State::Committed;
        match outcome {
            Outcome::Whole => {}
            Outcome::Shorter(part) => entry.payload_bytes = claimed * part / 256,
            Outcome::Abort | Outcome::Forget => entry.state = State::Aborted,
        }
        let bytes = entry.payload_bytes as usize;
        let result = self.writers[writer].end_claim(|claim| match outcome {
            Outcome::Whole | Outcome::Shorter(_) => Some(claim.commit(bytes)),
            Outcome::Abort => None,
            Outcome::Forget => {
                std::mem::forget(claim);
                None
            }
        });
        if let Some(result) = result.expect("it is open") {
            assert_eq!(result, Ok(entry.position));
        }
        entry.end = entry.position + self.model.frame_bytes(entry.extension_bytes + entry.payload_bytes);
        if self.model.many {
            *self.model.entry_at(entry.position) = entry;
        } else if entry.state == State::Committed {
            self.add(entry.position, entry.position, entry.end - entry.position, entry);
        }
        if let Outcome::Forget = outcome {
            self.replace(writer);
        }
    }

    /// A publisher leaves, and another takes its place.
    fn replace(&mut self, writer: usize) {
        self.finish(writer, Outcome::Abort);
        drop(self.writers.remove(writer));
        self.writers.insert(writer, attach(&self.topic));
    }
}
