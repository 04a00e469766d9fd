//! A frame as foreign bytes may make it, taken apart in every way that there is.

use memlane_ring::TopicOptions;
use memlane_ring::extension::{Block, Fields, Malformed, Parts, Source};
use memlane_ring::layout::{FLAG_EXTENSIONS, Phase, StateWord};

/// Takes `bytes` as a topic's options (the first of them), and the body of a frame in it.
///
/// # Panics
/// If what comes of it can't be: that is what is looked for.
pub(crate) fn look_at(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let payload_align = 8 << (choice >> 1 & 3);
    let options = TopicOptions { stamps: choice & 1 != 0, payload_align, ..TopicOptions::default() };
    let geometry = options.geometry().expect("these options can be");
    let word = StateWord::new(0, Phase::Committed, FLAG_EXTENSIONS, 0, body.len() as u64);
    let Ok(parts) = Parts::of(&geometry, word, body) else { return };
    assert!(parts.payload.len() <= body.len());
    let fields: Vec<_> = parts.fields.clone().collect();
    assert!(fields.iter().rev().skip(1).all(Result::is_ok), "an error is the last");
    for field in fields.iter().flatten() {
        assert!(body.as_ptr_range().contains(&field.value.as_ptr()) || field.value.is_empty());
        let _ = field.user_header();
    }
    if let Ok(mut block) = written_again(&parts.fields) {
        // What can be read can be written, and is then read as the same.
        let mut frame = vec![0; geometry.payload_at as usize - 8];
        frame.extend_from_slice(block.finish(payload_align));
        let has_fields = frame.len() > geometry.payload_at as usize - 8;
        let again = StateWord::new(0, Phase::Committed, if has_fields { FLAG_EXTENSIONS } else { 0 }, 0, 0);
        let again = Parts::of(&geometry, again, &frame).expect("it was just written").fields;
        assert_eq!(known(&again), known(&parts.fields));
    }
}

type Known<'a> = (
    (Option<&'a [u8]>, Option<u128>, Option<&'a str>, Option<&'a str>),
    (Option<&'a str>, Option<u64>, Option<Source<'a>>, Option<String>),
);

/// Everything that memlane knows of.
fn known<'a>(fields: &Fields<'a>) -> Result<Known<'a>, Malformed> {
    let trace = fields.trace_context()?.map(|context| format!("{context:?}"));
    Ok((
        (fields.key()?, fields.correlation_id()?, fields.reply_topic()?, fields.trace_state()?),
        (fields.content_type()?, fields.schema_id()?, fields.source()?, trace),
    ))
}

/// The same fields, as memlane writes them. Of what it doesn't write the way it was, an error.
fn written_again(fields: &Fields<'_>) -> Result<Block, Malformed> {
    let mut block = Block::default();
    known(fields)?;
    let add = |result: Result<(), _>| result.map_err(|_| Malformed);
    if let Some(key) = fields.key()? {
        add(block.key(key))?;
    }
    if let Some(id) = fields.correlation_id()? {
        add(block.correlation_id(id))?;
    }
    if let Some(topic) = fields.reply_topic()? {
        add(block.reply_topic(topic))?;
    }
    if let Some(context) = fields.trace_context()? {
        add(block.trace_context(context))?;
    }
    if let Some(state) = fields.trace_state()? {
        add(block.trace_state(state))?;
    }
    if let Some(content_type) = fields.content_type()? {
        add(block.content_type(content_type))?;
    }
    if let Some(id) = fields.schema_id()? {
        add(block.schema_id(id))?;
    }
    if let Some(source) = fields.source()? {
        add(block.source(source))?;
    }
    Ok(block)
}
