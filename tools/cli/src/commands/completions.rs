//! `memlane completions`: what a shell is to know of the command.

use clap::Args;
use clap_complete::Shell;

use super::ending::Ending;
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  memlane completions bash > ~/.local/share/bash-completion/completions/memlane
  memlane completions zsh > ~/.zfunc/_memlane           with ~/.zfunc in $fpath
  memlane completions fish > ~/.config/fish/completions/memlane.fish
  source <(memlane completions bash)                    for this shell only";

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// `command` is all that may be completed.
    pub(super) fn run(&self, mut command: clap::Command) -> anyhow::Result<Ending> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        let mut output = Output::stdout()?;
        output.bytes(&script)?;
        output.flush()?;
        Ok(Ending::Done)
    }
}
