//! `memlane top`: what goes on, live, over the whole terminal.
//!
//! | module | what it does |
//! |---|---|
//! | `columns` | what cells say, what rows are sorted by, which columns fit |
//! | `view` | what is shown, and what keys change about that |
//! | `events` | what came and went meanwhile |
//! | `draw` | all of it onto the terminal |
//!
//! It looks once in an interval, draws after each look and each key, and sleeps in between.

mod columns;
mod draw;
mod events;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use memlane::Pattern;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::ending::Ending;
use super::looks::{Look, TopicFigures};
use super::place::Place;
use super::signals::{LOOK_EVERY, Signals};
use super::units;
use draw::Picture;
use events::Events;
use view::{Then, View};

const AFTER_HELP: &str = "\
Columns: see `memlane stat --help`; RING is LAG as a share of the ring. A narrow terminal shows the more important ones.
Looking costs the participants nothing.

Keys:
  up, down, page up, page down     choose a topic
  enter                            its participants, and what came and went since `top` began; enter or Esc: back
  left, right                      sort by the column beside
  r                                the other way round
  /                                show only topics with this in their name, or in that of a participant, or in a tag
  p                                pause
  q, ^C                            end; Esc too, if there is no filter to clear

For scripts, and where there is no terminal: `memlane stat`.";

/// Watch what goes on, live: rates, lag, who holds whom up, losses
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Top {
    /// Only topics that match: tokens as names have, `*` for any one, and at the end `>` for one or more
    #[arg(value_name = "PATTERN", default_value = ">", hide_default_value = true)]
    pattern: Pattern,
    /// From one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::parse_interval)]
    interval: Duration,
}

impl Top {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        anyhow::ensure!(
            std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
            "`top` fills a terminal, and stdin or stdout is none: use `memlane stat`, or `memlane stat --json`"
        );
        // An error before the terminal is taken over is told where it can be read.
        let first = Look::at(place, &self.pattern)?;
        // The terminal has to be given back, however often somebody asks for an end.
        let signals = Signals::watch_patiently()?;
        // Gives it back also at a panic.
        let mut terminal =
            ratatui::try_init().inspect_err(|_| ratatui::restore()).context("can't take the terminal over")?;
        let result = Live::new(self, place, first).run(&mut terminal, &signals);
        ratatui::restore();
        result
    }
}

/// A session.
struct Live<'a> {
    settings: &'a Top,
    place: &'a Place,
    view: View,
    look: Look,
    figures: Vec<TopicFigures>,
    events: Events,
    /// Why the last look failed, if it did.
    failure: Option<String>,
    unix_ns: u64,
}

impl<'a> Live<'a> {
    fn new(settings: &'a Top, place: &'a Place, look: Look) -> Self {
        let figures = look.figures(None, true);
        let mut live = Self {
            settings,
            place,
            view: View::new(),
            look,
            figures,
            events: Events::default(),
            failure: None,
            unix_ns: unix_ns(),
        };
        live.events.look(place.open_existing().ok(), &settings.pattern, live.unix_ns);
        live
    }

    fn run(&mut self, terminal: &mut DefaultTerminal, signals: &Signals) -> anyhow::Result<Ending> {
        // The first rates soon, if the interval is long.
        let mut due = Instant::now() + self.settings.interval.min(Duration::from_secs(1));
        let mut is_old = true;
        loop {
            if signals.stop().is_some() {
                return Ok(Ending::Done);
            }
            if Instant::now() >= due {
                due = Instant::now() + self.settings.interval;
                if !self.view.is_paused {
                    self.look();
                    is_old = true;
                }
            }
            if is_old {
                terminal.draw(|frame| draw::draw(frame, &self.view, &self.picture())).context("can't draw")?;
                is_old = false;
            }
            let left = due.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            if has_hung_up(left) {
                return Ok(Ending::Done);
            }
            if self.take_keys(terminal, &mut is_old)? == Then::End {
                return Ok(Ending::Done);
            }
        }
    }

    /// Does what all keys ask for that are there, and notes whether the picture is old now. Changes of the terminal's size come here too.
    fn take_keys(&mut self, terminal: &DefaultTerminal, is_old: &mut bool) -> anyhow::Result<Then> {
        while event::poll(Duration::ZERO).context("can't read keys")? {
            match event::read().context("can't read keys")? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let page = usize::from(terminal.size()?.height).saturating_sub(4).max(1);
                    let rows = self.view.rows(&self.figures);
                    *is_old = true;
                    if self.view.key(key, &rows, page) == Then::End {
                        return Ok(Then::End);
                    }
                }
                Event::Resize(..) => *is_old = true,
                _ => {}
            }
        }
        Ok(Then::GoOn)
    }

    fn look(&mut self) {
        match Look::at(self.place, &self.settings.pattern) {
            Ok(look) => {
                self.figures = look.figures(Some(&self.look), true);
                self.failure = look.errors.first().cloned();
                self.look = look;
            }
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
        self.unix_ns = unix_ns();
        self.events.look(self.place.open_existing().ok(), &self.settings.pattern, self.unix_ns);
    }

    fn picture(&self) -> Picture<'_> {
        Picture {
            bus: &self.place.bus,
            interval: self.settings.interval,
            figures: &self.figures,
            events: &self.events.told,
            failure: self.failure.as_deref(),
            unix_ns: self.unix_ns,
        }
    }
}

/// Waits for a key, or until the time is up; whether the terminal has gone. The library that reads keys would spin then.
fn has_hung_up(time: Duration) -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    // A signal ends the wait too: whoever waits looks for them.
    let found = poll(&mut fds, timeout).ok().and_then(|_| fds[0].revents());
    found.is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL))
}

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
