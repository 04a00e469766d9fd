//! Subscribers that read a journal: they begin in it, slide into the ring, and go back to it, without a gap or a repetition.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::journal::{
    Disk, From, GapReason, Journal, OnFailure, Recorder, RecorderOptions, Retention, SyncPolicy, Turn,
};
use memlane::{
    Bus, Filter, Kind, Message, OpenError, Publishers, ReceiveError, Selector, Start, Subscriber, Topic, TopicBuilder,
};
use memlane_journal::Writer;
use rkyv::{Archive, Serialize};
use scratch::{Scratch, scratch};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CAPACITY: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    bus: Bus,
    directory: PathBuf,
    _root: Scratch,
}

impl Stage {
    fn new() -> Self {
        let root = scratch();
        let bus = Bus::builder("backfill").root(root.path()).open().unwrap();
        Self { bus, directory: root.path().join("kept"), _root: root }
    }

    fn builder(&self) -> TopicBuilder {
        self.bus.topic("t").unwrap().capacity_bytes(CAPACITY)
    }

    fn recorder(&self, topic: &Topic) -> Recorder {
        let options = RecorderOptions {
            sync: SyncPolicy::None,
            on_failure: OnFailure::Hold,
            segment_bytes: 64 << 10,
            ..RecorderOptions::default()
        };
        topic.record(&self.directory, options).unwrap().0
    }

    fn journal(&self) -> Journal {
        Journal::open(Arc::new(Disk), &self.directory).unwrap()
    }
}

fn record_all(recorder: &mut Recorder) {
    while !matches!(recorder.turn().unwrap(), Turn::Idle) {}
}

/// The message with this number: of a length of its own.
fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + (number * 37 % 500) as usize, number as u8);
    payload
}

/// Publishes `numbers`, recording as it goes; returns their positions.
fn publish(topic: &Topic, recorder: &mut Recorder, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut one = |number| {
        recorder.turn().unwrap();
        publisher.publish_within(&payload(number), PATIENCE).unwrap()
    };
    let positions = numbers.map(&mut one).collect();
    record_all(recorder);
    positions
}

/// What comes next until nothing does: numbers, each message as it was published, and losses.
fn drain(subscriber: &mut Subscriber<[u8]>) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut numbers, mut losses) = (Vec::new(), Vec::new());
    loop {
        match subscriber.try_receive() {
            Ok(Some(sample)) => {
                let number = u64::from_le_bytes(*sample.first_chunk().unwrap());
                assert_eq!(*sample, payload(number)[..]);
                numbers.push(number);
            }
            Ok(None) => return (numbers, losses),
            Err(ReceiveError::Lost { from, to }) => losses.push((from, to)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_replay_begins_anywhere_and_goes_on_in_the_ring_as_its_kind_says() {
    for kind in [Kind::Gated, Kind::Lossy, Kind::Latest] {
        let stage = Stage::new();
        let topic = stage.builder().open_or_create().unwrap();
        let mut recorder = stage.recorder(&topic);
        let positions = publish(&topic, &mut recorder, 0..1000);
        let journal = stage.journal();
        assert!(journal.summary().unwrap().segments.len() > 3, "more than a segment, and than the ring");
        for (from, first) in [
            (From::Earliest, 0),
            (From::Position(positions[617]), 617),
            (From::Position(positions[617] + 1), 618),
            (From::Last(10), 990),
            (From::Last(5000), 0),
            (From::Instant(0), 0),
            (From::Instant(u64::MAX), 1000),
            (From::Position(journal.end().unwrap()), 1000),
        ] {
            let mut subscriber = topic.subscriber::<[u8]>().kind(kind).replay(&journal, from).open().unwrap();
            let there = || topic.snapshot().map(|there| (there.subscribers.len(), there.observers.len())).unwrap();
            assert_eq!(there(), (1, 1), "beside the recorder: it holds nobody up yet");
            assert_eq!(drain(&mut subscriber), ((first..1000).collect(), vec![]), "{kind:?}, {from:?}");
            assert_eq!(there(), if kind == Kind::Gated { (2, 0) } else { (1, 1) }, "{kind:?}, {from:?}");
        }
        let mut subscriber = topic.subscriber::<[u8]>().kind(kind).replay(&journal, From::Last(3)).open().unwrap();
        assert_eq!(drain(&mut subscriber).0, [997, 998, 999]);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        for number in 1000..1002 {
            publisher.publish(&payload(number)).unwrap();
        }
        let live = if kind == Kind::Latest { vec![1001] } else { vec![1000, 1001] };
        assert_eq!(drain(&mut subscriber), (live, vec![]), "{kind:?}");
    }
}

/// Publishes `count` messages, from a thread of its own, and records them on another.
fn live(stage: &Stage, topic: &Topic, count: u64, read: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    let mut recorder = stage.recorder(topic);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if matches!(recorder.turn().unwrap(), Turn::Idle) {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        scope.spawn(|| {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            for number in 0..count {
                publisher.publish_within(&payload(number), PATIENCE).unwrap();
            }
        });
        read();
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn while_everybody_goes_on_each_message_comes_once_and_in_order() {
    const COUNT: u64 = 30_000;
    for (publishers, is_backfilled) in [(Publishers::One, true), (Publishers::One, false), (Publishers::Many(2), true)]
    {
        let stage = Stage::new();
        let topic = stage.builder().publishers(publishers).stamps(true).open_or_create().unwrap();
        // So that there is a journal to open.
        drop(stage.recorder(&topic));
        live(&stage, &topic, COUNT, || {
            for pause in [0, 1] {
                let journal = stage.journal();
                let builder = topic.subscriber::<[u8]>().replay(&journal, From::Earliest);
                let builder = if is_backfilled { builder.backfilled(&journal) } else { builder };
                let mut subscriber = builder.open().unwrap();
                for number in 0..COUNT {
                    let sample = subscriber.receive_within(PATIENCE).unwrap().expect("it is published");
                    assert_eq!(*sample, payload(number)[..], "{number}");
                    drop(sample);
                    // Far more than a lap comes meanwhile.
                    if pause > 0 && number % 3000 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                }
                if is_backfilled {
                    assert_eq!(topic.snapshot().unwrap().observers[0].losses, 0);
                }
            }
        });
    }
}

#[test]
fn a_backfilled_subscriber_that_lies_still_holds_nobody_up_and_has_lost_nothing_then() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let journal = stage.journal();
    let mut subscriber = topic.subscriber::<[u8]>().backfilled(&journal).open().unwrap();
    publish(&topic, &mut recorder, 0..3);
    assert_eq!(drain(&mut subscriber), (vec![0, 1, 2], vec![]), "out of the ring");
    let mut last = 3;
    for lap in 1..6 {
        publish(&topic, &mut recorder, last..last + 100 * lap);
        assert_eq!(drain(&mut subscriber), ((last..last + 100 * lap).collect(), vec![]), "{lap}");
        last += 100 * lap;
    }
}

#[test]
fn what_the_journal_has_not_either_is_told_as_a_range() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let journal = stage.journal();
    let open = || topic.subscriber::<[u8]>().backfilled(&journal).open().unwrap();
    let (mut subscriber, mut pruned) = (open(), open());
    let positions = publish(&topic, &mut recorder, 0..100);
    // The recorder ends, and publishers go on for more than a lap.
    drop(recorder);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let later: Vec<u64> = (100..300).map(|number| publisher.publish(&payload(number)).unwrap()).collect();
    drop(publisher);
    let (numbers, losses) = drain(&mut subscriber);
    let head = topic.snapshot().unwrap().head;
    let [(from, to)] = losses[..] else { panic!("{losses:?}") };
    assert!(from > positions[99] && from <= later[0] && to == head, "{from} to {to}, {head}");
    let kept = later.iter().position(|position| *position == head).unwrap() as u64 + 100;
    assert_eq!(numbers, (0..100).chain(kept..300).collect::<Vec<_>>());
    let told = &topic.snapshot().unwrap().observers[0];
    assert_eq!((told.losses, told.lost_bytes), (1, to - from), "and whoever looks is told too");

    // Where the journal has a gap, and where it was pruned.
    let mut recorder = stage.recorder(&topic);
    record_all(&mut recorder);
    publish(&topic, &mut recorder, 300..900);
    drop(recorder);
    let all = topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open();
    assert_eq!(drain(&mut all.unwrap()), ((0..100).chain(kept..900).collect(), vec![(from, to)]));
    let retention = Retention { messages: Some(300), ..Retention::default() };
    journal.prune(&retention).unwrap();
    let oldest = journal.summary().unwrap().begin;
    assert!(oldest > 0);
    let (numbers, losses) = drain(&mut pruned);
    assert_eq!(losses, [(0, oldest)]);
    assert!(numbers.len() >= 300 && numbers.is_sorted() && numbers.last() == Some(&899), "{numbers:?}");
    let refused = topic.subscriber::<[u8]>().replay(&journal, From::Position(64)).open().unwrap_err();
    assert!(refused.to_string().contains("its oldest is"), "{refused}");
}

#[derive(Archive, Serialize, Message)]
struct Trade {
    price: u64,
    venue: String,
}

#[test]
fn typed_messages_batches_filters_and_last_values_work_out_of_a_journal_too() {
    let stage = Stage::new();
    let topic = stage.builder().message::<Trade>().last_values(16, 200).open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let journal = stage.journal();
    let mut publisher = topic.publisher::<Trade>().open().unwrap();
    let mut publish = |recorder: &mut Recorder, prices: std::ops::Range<u64>| {
        for price in prices {
            let trade = Trade { price, venue: "v".repeat(price as usize % 40) };
            publisher.message().key(&(price % 10).to_le_bytes()).unwrap().header("at", &[price as u8]).unwrap();
            publisher.message().key(&(price % 10).to_le_bytes()).unwrap().publish(&trade).unwrap();
            recorder.turn().unwrap();
        }
    };
    publish(&mut recorder, 0..500);
    let builder = || topic.subscriber::<Trade>().replay(&journal, From::Earliest);
    let mut subscriber = builder().open().unwrap();
    let (mut next, mut batches) = (0, 0);
    loop {
        let count = subscriber.receive_batch(64, |trade| {
            let trade = trade.unwrap();
            assert_eq!((trade.view.price.to_native(), trade.view.venue.len()), (next, next as usize % 40));
            assert_eq!(trade.key().unwrap(), Some(&(next % 10).to_le_bytes()[..]));
            next += 1;
        });
        if count.unwrap() == 0 {
            break;
        }
        batches += 1;
    }
    assert!(next == 500 && batches < 100, "{next} in {batches}");
    drop(subscriber);
    let seven = Filter::key(7_u64.to_le_bytes());
    for builder in [builder(), builder().backfilled(&journal)] {
        let mut sevens = builder.filter(seven.clone()).open().unwrap();
        let mut prices = Vec::new();
        while let Some(trade) = sevens.try_receive().unwrap() {
            prices.push(trade.price.to_native());
        }
        assert_eq!(prices, (7..500).step_by(10).collect::<Vec<_>>());
    }
    let refused = builder().open_with_last_values().map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::LastValuesOfReplay { .. }), "{refused}");
    let (values, mut after) = topic.subscriber::<Trade>().backfilled(&journal).open_with_last_values().unwrap();
    assert_eq!(values.len(), 10);
    publish(&mut recorder, 500..1000);
    for price in 500..1000 {
        assert_eq!(after.try_receive().unwrap().unwrap().price.to_native(), price);
    }
}

#[test]
fn selectors_and_tasks_get_what_a_journal_has() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let journal = stage.journal();
    publish(&topic, &mut recorder, 0..300);
    let replay = || topic.subscriber::<[u8]>().replay(&journal, From::Earliest);
    let (mut one, mut other) = (replay().open().unwrap(), replay().backfilled(&journal).open().unwrap());
    let mut selector = Selector::new(&stage.bus);
    let mut counts = [0, 0];
    let mut receive = || {
        let index = selector.select(&mut [&mut one, &mut other], Some(PATIENCE)).expect("there is more");
        let sample = if index == 0 { one.try_receive() } else { other.try_receive() }.unwrap().unwrap();
        assert_eq!(*sample, payload(counts[index])[..]);
        counts[index] += 1;
        counts[0] + counts[1]
    };
    while receive() < 600 {}
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    publisher.publish(&payload(300)).unwrap();
    while receive() < 602 {}

    for builder in [replay(), replay().backfilled(&journal)] {
        let mut subscriber = builder.open().unwrap();
        memlane::block_on(async {
            for number in 0..301 {
                assert_eq!(*subscriber.receive_async().await.unwrap(), payload(number)[..]);
            }
        });
    }
}

#[test]
fn a_journal_of_another_topic_and_one_that_is_damaged_are_named() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let positions = publish(&topic, &mut recorder, 0..600);
    let journal = stage.journal();
    let other = stage.bus.topic("other").unwrap().capacity_bytes(CAPACITY).open_or_create().unwrap();
    let refused = other.subscriber::<[u8]>().backfilled(&journal).open().unwrap_err();
    assert!(matches!(refused, OpenError::Journal(_)) && refused.to_string().contains("kept"), "{refused}");

    let mut subscriber = topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open().unwrap();
    let mut backfilled =
        topic.subscriber::<[u8]>().replay(&journal, From::Earliest).backfilled(&journal).open().unwrap();
    let segment = stage.directory.join(memlane_journal::layout::segment_name(0));
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff], 4096 + positions[50] + 100).unwrap();
    for subscriber in [&mut subscriber, &mut backfilled] {
        let error = loop {
            match subscriber.try_receive() {
                Ok(sample) => drop(sample.expect("the damage comes before the end")),
                Err(error) => break error,
            }
        };
        let text = error.to_string();
        assert!(matches!(error, ReceiveError::Journal(_)) && text.contains("kept"), "{text}");
        assert!(subscriber.try_receive().is_err(), "it stays there");
        let skipped = subscriber.skip_to_live().unwrap();
        assert!(skipped.start <= positions[50] && skipped.end > positions[599]);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        publisher.publish(&payload(1)).unwrap();
        assert_eq!(*subscriber.try_receive().unwrap().unwrap(), payload(1)[..]);
    }
}

#[test]
fn a_segment_that_is_cut_while_it_is_read_is_an_error_and_no_signal() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    publish(&topic, &mut recorder, 0..600);
    let journal = stage.journal();
    let mut subscriber = topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open().unwrap();
    drop(subscriber.try_receive().unwrap());
    let segment = stage.directory.join(memlane_journal::layout::segment_name(0));
    std::fs::File::options().write(true).open(segment).unwrap().set_len(4096 + 20000).unwrap();
    let error = loop {
        match subscriber.try_receive() {
            Ok(sample) => drop(sample.expect("the cut comes before the end")),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReceiveError::Journal(_)), "{error}");
}

#[test]
fn a_backfilled_one_may_begin_in_the_ring_too() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    publish(&topic, &mut recorder, 0..20);
    let journal = stage.journal();
    let open = |start| topic.subscriber::<[u8]>().start(start).backfilled(&journal).open().unwrap();
    let mut subscribers = [open(Start::Earliest), open(Start::Latest), open(Start::Live)];
    publish(&topic, &mut recorder, 20..400);
    for (subscriber, first) in subscribers.iter_mut().zip([0, 19, 20]) {
        assert_eq!(drain(subscriber), ((first..400).collect(), vec![]));
    }
}

#[test]
fn what_a_journal_has_not_but_the_ring_has_comes_from_there() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    publish(&topic, &mut recorder, 0..10);
    drop(recorder);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let later: Vec<u64> = (10..30).map(|number| publisher.publish(&payload(number)).unwrap()).collect();
    // As if a disk that failed had cost ten of them.
    let calibration = memlane_shm::clock::Calibration::monotonic();
    let (mut writer, _) = Writer::resume(Arc::new(Disk), &stage.directory, calibration).unwrap().unwrap();
    writer.gap(later[10], GapReason::Failed).unwrap();
    drop(writer);
    record_all(&mut stage.recorder(&topic));
    let journal = stage.journal();
    for builder in [topic.subscriber::<[u8]>(), topic.subscriber::<[u8]>().backfilled(&journal)] {
        let mut subscriber = builder.replay(&journal, From::Earliest).open().unwrap();
        assert_eq!(drain(&mut subscriber), ((0..30).collect(), vec![]));
    }
    // Once the ring has let go of them they are lost.
    drop(publisher);
    publish(&topic, &mut stage.recorder(&topic), 30..200);
    let mut subscriber = topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open().unwrap();
    let (numbers, losses) = drain(&mut subscriber);
    assert_eq!((numbers, losses.len()), ((0..10).chain(20..200).collect(), 1));
    assert_eq!(losses[0].1, later[10]);
}

#[test]
fn a_record_that_is_damaged_is_named_and_nothing_is_passed_over_in_silence() {
    let stage = Stage::new();
    let topic = stage.builder().open_or_create().unwrap();
    let mut recorder = stage.recorder(&topic);
    let journal = stage.journal();
    let mut subscriber = topic.subscriber::<[u8]>().backfilled(&journal).start(Start::Earliest).open().unwrap();
    publish(&topic, &mut recorder, 0..150);
    assert_eq!(journal.segments().unwrap(), [0], "all in one");
    // The tenth of some hundred.
    let segment = journal.segment(0).unwrap();
    let file = std::fs::File::options().write(true).open(&segment.path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 8], segment.head.record_at(10) + 20).unwrap();
    let mut numbers = 0;
    let error = loop {
        match subscriber.try_receive() {
            Ok(sample) => assert_eq!(*sample.expect("the damage comes before the end"), payload(numbers)[..]),
            Err(error) => break error,
        }
        numbers += 1;
    };
    assert!(matches!(error, ReceiveError::Journal(_)) && error.to_string().contains("a record isn't whole"), "{error}");
    assert!(numbers > 3 && subscriber.try_receive().is_err(), "it stays there");
    subscriber.skip_to_live().unwrap();
    publish(&topic, &mut recorder, 150..160);
    assert_eq!(drain(&mut subscriber).0, (150..160).collect::<Vec<_>>());
}
