//! Random deaths of clients and servers under load: every call of the living ends with the right reply or an error, none is handled twice,
//! and nothing is left behind.

use crate::request_reply::lines;
use crate::stage;
use memlane_tests::random::Random;
use memlane_tests::role::{Ask, Place, Role, Serve};
use memlane_tests::stage::{Actor, Stage};
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(10);
/// Enough to mean something on a slow machine.
const KILLS_MIN: u32 = 60;
const LIFE_MAX: Duration = Duration::from_millis(80);
const POINTS: &[&str] = &[
    "create.staged",
    "create.sized",
    "create.before_rename",
    "attach.mapped",
    "attach.locked",
    "join.announced",
    "join.gated",
    "claim.claimed",
    "commit.before",
    "commit.after",
    "wake.before",
    "wake.rung",
    "read.holding",
    "release.before",
    "release.after",
    "remove.hidden",
    "leave.before",
    "leave.gated",
];

struct Victim {
    actor: Actor,
    dies_at: Instant,
    is_server: bool,
}

fn victim(stage: &Stage, place: &Place, random: &mut Random, is_server: bool, clients: &mut u64) -> Victim {
    let is_sleepy = random.below(2) == 0;
    let role = if is_server {
        Role::Serve(Serve { place: place.clone(), work_us: random.below(2) * 50, is_sleepy })
    } else {
        *clients += 1;
        Role::Ask(Ask { place: place.clone(), client: *clients, calls: 0, is_mixed: true, is_sleepy })
    };
    let crash = format!("{}:{}", random.one_of(POINTS), 1 + random.below(12) * random.below(4));
    let actor = stage.start_silent(&role, (random.below(2) == 0).then_some(&*crash));
    Victim { actor, dies_at: Instant::now() + random.time_below(LIFE_MAX), is_server }
}

#[test]
fn random_kills_of_clients_and_servers_under_load_leave_the_others_served_and_nothing_behind() {
    let stage = stage();
    let place = stage.place("service");
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let (mut random, mut clients) = (Random::new(seed), 0);
    let mut server = stage.start(&Role::Serve(Serve { place: place.clone(), work_us: 0, is_sleepy: false }));
    server.await_ready();
    let ask = Ask { place: place.clone(), client: 0, calls: 0, is_mixed: true, is_sleepy: false };
    let mut client = stage.start(&Role::Ask(ask));
    client.await_ready();
    let mut victims: Vec<Victim> =
        (0..5).map(|index| victim(&stage, &place, &mut random, index < 2, &mut clients)).collect();
    let (start, mut kills) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        for victim_of in &mut victims {
            if Instant::now() >= victim_of.dies_at {
                victim_of.actor.signal(Signal::SIGKILL);
            }
            let Some(status) = victim_of.actor.has_ended() else { continue };
            assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
            kills += 1;
            *victim_of = victim(&stage, &place, &mut random, victim_of.is_server, &mut clients);
        }
        if random.below(200) == 0 {
            stage.bus().collect_garbage().unwrap();
        }
        assert!(client.has_ended().is_none() && server.has_ended().is_none(), "the survivors survive");
        std::thread::sleep(Duration::from_micros(500));
    }
    drop(victims);
    client.ask_to_stop();
    let replies = client.answer().unwrap();
    server.ask_to_stop();
    let served = server.answer().unwrap();
    println!("{kills} kills; the survivors got {replies} replies and served {served} requests");
    assert!(kills >= KILLS_MIN && replies > 0 && served > 0, "{kills} {replies} {served}");
    client.await_success();
    server.await_success();
    let (handled, answered) = (lines(&stage, "handled"), lines(&stage, "answered"));
    assert!(handled.values().all(|count| *count == 1), "a request was handled twice");
    assert!(answered.keys().all(|line| handled.contains_key(line)), "a reply without a request");
    // Half-made directories of the dead are left alone for a second.
    std::thread::sleep(Duration::from_millis(1100));
    stage.bus().collect_garbage().unwrap();
    assert_eq!(stage.bus().topics().unwrap(), [""; 0]);
    assert_eq!(stage.leftovers(), [""; 0]);
}
