//! A process that plays the role that its argument names, for the tests of this package.

#![forbid(unsafe_code)]

use anyhow::Context;
use memlane_tests::roles;

fn main() -> anyhow::Result<()> {
    let role = std::env::args().nth(1).context("a role is needed, as JSON")?;
    roles::play(serde_json::from_str(&role).context("the argument is no role")?)
}
