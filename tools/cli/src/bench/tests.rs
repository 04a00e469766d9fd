//! The references in two real processes: the test program starts itself again, with one test selected that is the peer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exchange::{Conductor, ExchangeError};
use super::lane::Lane;
use super::machine::{Cores, MachineError, PeerCommand, Workplace};
use super::reference::References;
use super::reference::payload::Payloads;
use super::rounds::Settings;

/// Names the directory of a measurement to the peer; without it the peer's test has nothing to do.
const DIRECTORY: &str = "MEMLANE_BENCH_TEST_DIRECTORY";

/// Tells the peer which of the [`roles`] it plays.
const ROLE: &str = "MEMLANE_BENCH_TEST_ROLE";

/// What a peer does.
mod roles {
    /// Serves the references.
    pub(super) const REFERENCES: &str = "references";
    /// Serves [`super::open_loop_lanes`].
    pub(super) const OPEN_LOOP: &str = "open loop";
    /// Has prepared no lanes.
    pub(super) const WITHOUT_LANES: &str = "without lanes";
    /// Ends before it is ready.
    pub(super) const QUITTER: &str = "quitter";
}

/// This test program with the test that is the peer.
fn peer(directory: &Path, role: &str) -> PeerCommand {
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::the_peer_of_the_other_tests_serves_its_parent");
    PeerCommand {
        arguments: vec![test.into(), "--exact".into(), "--test-threads=1".into()],
        environment: vec![(DIRECTORY.into(), directory.into()), (ROLE.into(), role.into())],
    }
}

fn open_loop_lanes(references: &mut References) -> Vec<Box<dyn Lane>> {
    vec![references.handoff(), references.open_loop(Payloads::<64>::default(), 1e6)]
}

/// `None`, and a word about it, where there is one core only.
fn cores() -> Option<Cores> {
    match Cores::choose() {
        Ok(cores) => Some(cores),
        Err(MachineError::TooFewCores { .. }) => {
            eprintln!("needs two cores; nothing was tested");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_peer_of_the_other_tests_serves_its_parent() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    match std::env::var(ROLE).as_deref() {
        Ok(roles::REFERENCES) => super::references_peer(&directory),
        Ok(roles::OPEN_LOOP) => {
            super::exchange::follow(&directory, || Ok(open_loop_lanes(&mut References::open(&directory)?)))
        }
        Ok(roles::WITHOUT_LANES) => super::exchange::follow(&directory, || Ok(Vec::new())),
        _ => std::process::exit(7),
    }
    .unwrap();
}

#[test]
fn two_processes_measure_every_reference() {
    if cores().is_none() {
        return;
    }
    let settings = Settings {
        time: Duration::ZERO,
        rounds_max: 1,
        batch: Duration::from_micros(200),
        limit: Duration::from_micros(50),
    };
    let report = super::references(&settings, |directory| peer(directory, roles::REFERENCES)).unwrap();
    assert_eq!(report.rounds, 1);
    assert_eq!(report.rows.len(), super::WAKE);
    let batches = report.batches;
    assert_eq!(batches.near + batches.far + batches.dropped, super::WAKE);
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["bench"], "references");
    assert_eq!(json["rows"][0]["kind"], "handoff");
}

#[test]
fn latencies_recorded_on_the_other_side_come_back() {
    let Some(cores) = cores() else { return };
    let workplace = Workplace::new().unwrap();
    let directory = workplace.path();
    let lanes = open_loop_lanes(&mut References::create(directory, 1024).unwrap());
    let mut conductor = Conductor::start(directory, cores, &peer(directory, roles::OPEN_LOOP), lanes).unwrap();
    for count in [100, 7] {
        let turn = conductor.run(1, count).unwrap();
        assert_eq!(turn.recorded.unwrap().samples(), count);
    }
    conductor.finish().unwrap();
}

#[test]
fn a_peer_that_ends_too_early_is_noticed() {
    let Some(cores) = cores() else { return };
    let workplace = Workplace::new().unwrap();
    let directory = workplace.path();
    let error = Conductor::start(directory, cores, &peer(directory, roles::QUITTER), Vec::new()).unwrap_err();
    match error.downcast::<ExchangeError>().unwrap() {
        ExchangeError::PeerDied { ending } => assert_eq!(ending, "exit code 7"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_peer_with_other_lanes_is_refused() {
    let Some(cores) = cores() else { return };
    let workplace = Workplace::new().unwrap();
    let directory = workplace.path();
    let lanes = super::reference_lanes(&mut References::create(directory, 1024).unwrap());
    let error = Conductor::start(directory, cores, &peer(directory, roles::WITHOUT_LANES), lanes).unwrap_err();
    assert!(matches!(error.downcast::<ExchangeError>().unwrap(), ExchangeError::Mismatch));
}
