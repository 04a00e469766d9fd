//! `memlane sub --pattern`: messages of every topic whose name matches.

use memlane::{Pattern, PatternError, ReceiveError};

use super::Subscribe;
use super::print::{Columns, Format, Printer};
use crate::commands::attach::Deadline;
use crate::commands::ending::{Ending, complain};
use crate::commands::output::Output;
use crate::commands::place::Place;
use crate::commands::signals::Signals;

pub(super) fn run(settings: &Subscribe, place: &Place, signals: &Signals) -> anyhow::Result<Ending> {
    anyhow::ensure!(
        settings.format != Format::Raw,
        "--format raw doesn't tell one topic's bytes from another's: leave it out"
    );
    let pattern: Pattern = settings.topic.parse()?;
    let bus = place.open_existing()?;
    let builder = bus.subscribe::<[u8]>(pattern).kind(settings.kind()).start(settings.from).wait(settings.spin.into());
    let mut subscriber = builder.open()?;
    let columns =
        Columns { positions: settings.positions, keys: settings.keys, stamps: false, headers: settings.headers };
    let mut printer = Printer::new(Output::stdout()?, None, settings.format, settings.json, columns);
    let (mut messages, mut is_sound) = (0_u64, true);
    let mut deadline = Deadline::after(settings.timeout);
    let ending = loop {
        if settings.count.is_some_and(|count| messages >= count) {
            break Ending::Done;
        }
        if let Some(stop) = signals.stop() {
            break if settings.count.is_none() { Ending::Done } else { Ending::Stopped(stop) };
        }
        match subscriber.try_receive() {
            Ok(Some((topic, sample))) => {
                printer.of_topic(topic, || bus.topic(topic).ok()?.open().ok());
                printer.message(&sample.received())?;
                messages += 1;
                deadline = Deadline::after(settings.timeout);
                continue;
            }
            Ok(None) if settings.drain => break Ending::Done,
            Ok(None) => {}
            Err(error) => {
                is_sound &= !is_loss(&error);
                printer.forget_topics();
                printer.output.flush()?;
                complain(&error.to_string());
                continue;
            }
        }
        printer.output.flush()?;
        if deadline.has_passed() {
            break Ending::TimedOut;
        }
        // Only to wait: what comes is received above.
        subscriber.wait(deadline.slice());
        printer.output.check_reader()?;
    };
    printer.output.flush()?;
    if ending == Ending::TimedOut {
        complain("no message came in time");
    }
    Ok(if ending == Ending::Done && !is_sound { Ending::Unsound } else { ending })
}

/// Whether messages were lost, or can't be read.
fn is_loss(error: &PatternError) -> bool {
    let PatternError::Receive { source, .. } = error else { return true };
    !matches!(source, ReceiveError::Removed)
}
