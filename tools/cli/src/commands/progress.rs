//! Progress bars, on stderr and only if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const WITH_END: &str = "{spinner} {bar:40} {percent:>3}%  {msg}";
const WITHOUT_END: &str = "{spinner} {elapsed}  {msg}";

/// A bar for work of so many steps; without a number there is no end in sight.
pub(super) fn bar(steps: Option<u64>) -> ProgressBar {
    let (bar, template) = match steps {
        Some(steps) => (ProgressBar::new(steps), WITH_END),
        None => (ProgressBar::no_length(), WITHOUT_END),
    };
    if bar.is_hidden() {
        return bar;
    }
    // A template that can't be read would be a mistake here; the bar then looks as indicatif likes it.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
