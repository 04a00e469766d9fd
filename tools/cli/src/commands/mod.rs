//! The command `memlane`: one module for each subcommand, and what they share.
//!
//! | module | what it does |
//! |---|---|
//! | `publish`, `subscribe`, `ingest` | messages in and out |
//! | `request`, `serve` | requests and replies |
//! | `record`, `replay`, `journal`, `offsets` | topics onto disk, back into topics, what is there, and how far its readers are |
//! | `node`, `config` | what a host runs beside its services, and what it is told |
//! | `list`, `info`, `remove`, `gc` | looking after topics |
//! | `certs` | certificates of a bridge's nodes |
//! | `stat`, `top` | what goes on, look by look, and live |
//! | `bench` | memlane beside the limits of the machine |
//! | `doctor` | whether the host suits memlane, and how to mend what doesn't |
//! | `completions`, `man` | what shells and readers are to know of the command |
//! | `demo` | a publisher and subscribers of every kind, as processes, with a check at the end |
//! | `place`, `topic_options`, `units`, `attach` | what is asked for: arguments that several take, and getting at the topic |
//! | `ending`, `signals`, `input`, `output`, `table`, `progress` | how a command talks to the one who called it, and ends |
//! | `members`, `looks` | participants as they are shown, and rates from one look to the next |
//! | `pacing`, `latencies` | keeping to a schedule, and figures of it |
//!
//! A command returns how it ended, or an error; only [`main`] turns either into an exit code and a line on stderr.

mod attach;
mod bench;
mod certs;
mod completions;
mod config;
mod demo;
mod doctor;
mod ending;
mod gc;
mod info;
mod ingest;
mod input;
mod journal;
mod latencies;
mod list;
mod looks;
mod man;
mod members;
mod node;
mod offsets;
mod output;
mod pacing;
mod place;
mod progress;
mod publish;
mod rate_limits;
mod record;
mod remove;
mod replay;
mod request;
mod serve;
mod signals;
mod stat;
mod subscribe;
mod table;
mod top;
mod topic_options;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use ending::Ending;
use place::Place;

/// Shown below the help of the command as a whole.
const AFTER_HELP: &str = "\
Exit codes:
  0    done; `sub` and `stat` without --count, and `top`, also when they are stopped
  1    failed; stderr says what is wrong and what to do
  2    wrong usage
  3    a check failed, messages were lost, or a request was refused
  124  timed out
  130  stopped by ^C before it was done (129 by SIGHUP, 143 by SIGTERM)

A reader of the output that goes away (`memlane sub T | head`) ends the command quietly, with 0.

Examples:
  memlane demo                                  see it work; needs nothing
  memlane sub md.trades --wait-for-topic        in one terminal ...
  echo hello | memlane pub md.trades            ... and in another
  memlane ls; memlane info md.trades            what is there
  memlane top                                   what goes on, live; `memlane stat` for scripts
  memlane doctor                                does this host suit it?";

/// A message bus over shared memory, at your command
#[derive(Debug, Parser)]
#[command(name = "memlane", version, max_term_width = 100, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    #[command(name = "pub")]
    Publish(publish::Publish),
    #[command(name = "sub")]
    Subscribe(subscribe::Subscribe),
    #[command(name = "req")]
    Call(request::Call),
    Serve(serve::Serve),
    Ingest(ingest::Ingest),
    Record(record::Record),
    Replay(replay::Replay),
    Journal(journal::JournalCommand),
    Offsets(offsets::Offsets),
    Node(node::Node),
    Config(config::ConfigCommand),
    #[command(name = "ls")]
    List(list::List),
    Info(info::Info),
    Stat(stat::Stat),
    Top(top::Top),
    #[command(name = "rm")]
    Remove(remove::Remove),
    Gc(gc::Gc),
    Certs(certs::Certs),
    Bench(bench::Bench),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    #[command(name = bench::PEER, hide = true)]
    BenchPeer(bench::Peer),
    #[command(name = demo::PARTICIPANT, hide = true)]
    DemoParticipant(demo::Participant),
}

impl Command {
    fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        match self {
            Self::Demo(demo) => demo.run(place),
            Self::Publish(publish) => publish.run(place),
            Self::Subscribe(subscribe) => subscribe.run(place),
            Self::Call(call) => call.run(place),
            Self::Serve(serve) => serve.run(place),
            Self::Ingest(ingest) => ingest.run(place),
            Self::Record(record) => record.run(place),
            Self::Replay(replay) => replay.run(place),
            Self::Journal(journal) => journal.run(),
            Self::Offsets(offsets) => offsets.run(),
            Self::Node(node) => node.run(place),
            Self::Config(config) => config.run(),
            Self::List(list) => list.run(place),
            Self::Info(info) => info.run(place),
            Self::Stat(stat) => stat.run(place),
            Self::Top(top) => top.run(place),
            Self::Remove(remove) => remove.run(place),
            Self::Gc(gc) => gc.run(place),
            Self::Certs(certs) => certs.run(),
            Self::Bench(bench) => bench.run(),
            Self::Doctor(doctor) => doctor.run(place),
            Self::Completions(completions) => completions.run(shown()),
            Self::Man(man) => man.run(shown()),
            Self::BenchPeer(peer) => peer.run(),
            Self::DemoParticipant(participant) => participant.run(place),
        }
    }
}

/// The command without the subcommands that are none of its users' business: clap can hide them from its help alone.
fn shown() -> clap::Command {
    let all = Cli::command();
    let subcommands = all.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    let mut shown = clap::Command::new("memlane").version(env!("CARGO_PKG_VERSION")).after_help(AFTER_HELP);
    if let Some(about) = all.get_about() {
        shown = shown.about(about.clone());
    }
    shown.subcommand_required(true).args(all.get_arguments()).subcommands(subcommands)
}

/// Does what the arguments of this process ask for. Wrong usage ends the process right here.
#[must_use]
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let Cli { mut place, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let usual_name = format!("memlane {}", matches.subcommand_name().unwrap_or_default());
    let introduced = place.introduce(&usual_name).map_err(Into::into);
    ending::exit_code(introduced.and_then(|()| command.run(&place)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_make_sense_to_clap() {
        super::Cli::command().debug_assert();
        super::shown().debug_assert();
    }
}
