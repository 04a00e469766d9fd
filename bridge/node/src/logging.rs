//! The log: lines on stderr, as text, as JSON, or as journald takes them.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{Layer, fmt as lines, reload};

use crate::config::{LogConfig, LogFormat};

/// What may be changed of the log while it is written.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Begins to log for all of the process; also panics. Where somebody logs for it already, that goes on.
    pub(crate) fn begin(config: &LogConfig, is_json: bool) -> Self {
        let (filter, level) = reload::Layer::new(config.level);
        let plain = lines::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
        // Where stderr is closed, nobody is left to tell, and the node goes on.
        let plain = plain.log_internal_errors(false);
        let layer = match config.format {
            _ if is_json => plain.json().flatten_event(true).boxed(),
            LogFormat::Json => plain.json().flatten_event(true).boxed(),
            LogFormat::Auto if leads_to_journald() => plain.event_format(ForJournald::default()).boxed(),
            LogFormat::Auto | LogFormat::Text => plain.boxed(),
        };
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer.with_filter(filter)));
        std::panic::set_hook(Box::new(|panic| error!("{}", panic.to_string().replace('\n', " "))));
        Self { level }
    }

    /// Logs from this level on.
    pub(crate) fn set_level(&self, level: LevelFilter) {
        // It fails only where somebody else logs for the process.
        let _ = self.level.reload(level);
    }
}

/// Whether stderr leads to journald, which says so by the file's numbers.
fn leads_to_journald() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = std::io::stderr().as_fd().try_clone_to_owned().and_then(|stderr| File::from(stderr).metadata());
    metadata.is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}

/// Lines for journald, which notes time and program itself and takes the level from a number in front that it doesn't show.
#[derive(Debug)]
struct ForJournald {
    text: Format<Full, ()>,
}

impl Default for ForJournald {
    fn default() -> Self {
        Self { text: lines::format().with_target(false).with_level(false).with_ansi(false).without_time() }
    }
}

impl<S, N> FormatEvent<S, N> for ForJournald
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.text.format_event(context, writer, event)
    }
}

/// As syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
