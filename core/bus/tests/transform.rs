//! Transforms: each input becomes its outputs once, also after errors and ends at any place.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::journal::{Disk, Journal, RecorderOptions, Turn};
use memlane::{
    Bus, ClaimError, OpenError, OutputError, PublishError, Start, Topic, TopicError, Transform, TransformError,
};
use scratch::{Scratch, scratch};
use std::sync::Arc;
use std::time::Duration;

const NOW: Duration = Duration::ZERO;

struct Ends {
    bus: Bus,
    input: Topic,
    output: Topic,
    root: Scratch,
}

fn ends() -> Ends {
    let root = scratch();
    let bus = Bus::builder("transform").root(root.path()).open().unwrap();
    let topic = |name| bus.topic(name).unwrap().capacity_bytes(16 << 10).open_or_create().unwrap();
    Ends { input: topic("in"), output: topic("out"), bus, root }
}

impl Ends {
    fn open(&self) -> Transform<[u8], [u8]> {
        Transform::builder(&self.input, &self.output, "t").open().unwrap()
    }

    fn publish(&self, numbers: std::ops::Range<u8>) {
        let mut publisher = self.input.publisher::<[u8]>().open().unwrap();
        for number in numbers {
            publisher.publish(&[number]).unwrap();
        }
    }

    fn outputs(&self) -> Vec<Vec<u8>> {
        let mut subscriber = self.output.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
        let mut all = Vec::new();
        while let Some(sample) = subscriber.try_receive().unwrap() {
            all.push(sample.to_vec());
        }
        all
    }
}

/// What is to come out of the inputs with these numbers: of each as many as its number says, modulo 4.
fn expected(numbers: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    numbers.flat_map(|number| (0..number % 4).map(move |index| vec![number, index])).collect()
}

/// A turn that fails after so many new outputs.
fn turn(transform: &mut Transform<[u8], [u8]>, left: &mut u32) -> Result<bool, TransformError> {
    transform.turn(NOW, |input, outputs| {
        let number = input.view[0];
        for index in 0..number % 4 {
            if outputs.publish(&[number, index])?.is_some() {
                *left = left.checked_sub(1).filter(|left| *left > 0).ok_or("that was all")?;
            }
        }
        Ok(())
    })
}

#[test]
fn after_an_error_or_an_end_behind_any_output_everything_comes_once() {
    for step in 1..12 {
        for ends_there in [false, true] {
            let ends = ends();
            ends.publish(0..40);
            let mut transform = ends.open();
            let mut left = step;
            let mut failures = 0;
            loop {
                match turn(&mut transform, &mut left) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(TransformError::Failed { source, .. }) => {
                        assert_eq!(source.to_string(), "that was all");
                        (left, failures) = (step + failures % 3, failures + 1);
                        if ends_there {
                            drop(transform);
                            transform = ends.open();
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(failures > 3 && ends.outputs() == expected(0..40), "{step}, {ends_there}");
        }
    }
}

#[test]
fn a_second_one_of_its_name_is_fenced_out_and_another_makes_outputs_of_its_own() {
    let ends = ends();
    ends.publish(0..4);
    let mut first = ends.open();
    let refused = Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "t").open().unwrap_err();
    assert!(
        matches!(refused, OpenError::Topic(TopicError::SourceTaken { .. } | TopicError::PublisherExists { .. })),
        "{refused}"
    );
    while turn(&mut first, &mut 100).unwrap() {}
    drop(first);
    let mut second = Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "another").open().unwrap();
    while turn(&mut second, &mut 100).unwrap() {}
    assert_eq!(ends.outputs(), [expected(0..4), expected(0..4)].concat());
}

#[test]
fn an_input_that_was_made_anew_is_another_one() {
    let mut ends = ends();
    ends.publish(0..30);
    let mut transform = ends.open();
    while turn(&mut transform, &mut 1000).unwrap() {}
    drop(transform);
    ends.bus.remove("in").unwrap();
    ends.input = ends.bus.topic("in").unwrap().capacity_bytes(16 << 10).open_or_create().unwrap();
    ends.publish(0..10);
    let mut transform = ends.open();
    while turn(&mut transform, &mut 1000).unwrap() {}
    assert_eq!(ends.outputs(), [expected(0..30), expected(0..10)].concat());
}

#[test]
fn what_the_ring_has_let_go_is_refused_without_a_journal_and_found_with_one() {
    let ends = ends();
    let directory = ends.root.path().join("kept");
    let (mut recorder, _) = ends.input.record(&directory, RecorderOptions::default()).unwrap();
    let mut publish = |numbers: std::ops::Range<u8>| {
        let mut publisher = ends.input.publisher::<[u8]>().open().unwrap();
        for number in numbers {
            let mut payload = vec![0; 600];
            payload[0] = number;
            publisher.publish(&payload).unwrap();
            while !matches!(recorder.turn().unwrap(), Turn::Idle) {}
        }
    };
    publish(0..5);
    let mut transform = ends.open();
    while turn(&mut transform, &mut 100).unwrap() {}
    drop(transform);
    publish(5..100);
    let refused = Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "t").open().unwrap_err();
    assert!(matches!(refused, OpenError::Topic(TopicError::NoSuchPosition { .. })), "{refused}");
    let journal = Journal::open(Arc::new(Disk), &directory).unwrap();
    let (mut left, mut failures) = (7, 0);
    loop {
        let mut transform =
            Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "t").journal(&journal).open().unwrap();
        loop {
            match turn(&mut transform, &mut left) {
                Ok(true) => {}
                Ok(false) => {
                    assert_eq!(ends.outputs(), expected(0..100));
                    return;
                }
                Err(error) => {
                    assert!(matches!(error, TransformError::Failed { .. }), "{error}");
                    (left, failures) = (7, failures + 1);
                    if failures % 2 == 0 {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn an_output_that_knows_more_of_its_input_than_there_is_is_refused() {
    let ends = ends();
    ends.publish(0..10);
    let directory = ends.root.path().join("kept");
    let (mut recorder, _) = ends.input.record(&directory, RecorderOptions::default()).unwrap();
    while !matches!(recorder.turn().unwrap(), Turn::Idle) {}
    let journal = Journal::open(Arc::new(Disk), &directory).unwrap();
    let name = format!("t.{:016x}", ends.input.info().epoch);
    let mut publisher = ends.output.publisher::<[u8]>().open_source(&name).unwrap();
    publisher.skip_to(10 * 64);
    publisher.publish(b"of an input that was lost").unwrap();
    drop(publisher);
    let builder = || Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "t");
    for builder in [builder(), builder().journal(&journal)] {
        let refused = builder.open().unwrap_err();
        assert!(matches!(refused, OpenError::Topic(TopicError::NoSuchPosition { position: 640, .. })), "{refused}");
    }
}

#[test]
fn a_full_output_and_too_many_outputs_are_errors_and_nothing_comes_twice() {
    let ends = ends();
    ends.publish(0..30);
    let slow = ends.output.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    let mut transform = Transform::<[u8], [u8]>::builder(&ends.input, &ends.output, "t").patience(NOW).open().unwrap();
    let large = |transform: &mut Transform<[u8], [u8]>| {
        transform.turn(NOW, |input, outputs| {
            for index in 0..3 {
                let mut payload = vec![index; 700];
                payload[0] = input.view[0];
                outputs.publish(&payload)?;
            }
            Ok(())
        })
    };
    let error = loop {
        match large(&mut transform) {
            Ok(is_there) => assert!(is_there, "the ring is full before"),
            Err(error) => break error,
        }
    };
    let TransformError::Failed { source, .. } = error else { panic!("{error}") };
    let full = OutputError::Publish(PublishError::Claim(ClaimError::Full));
    assert_eq!(source.downcast_ref::<OutputError>(), Some(&full));
    let mut slow = slow;
    let mut received = Vec::new();
    loop {
        while let Some(sample) = slow.try_receive().unwrap() {
            received.push((sample[0], sample[1]));
        }
        match large(&mut transform) {
            Ok(true) | Err(TransformError::Failed { .. }) => {}
            Ok(false) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(received, (0..30).flat_map(|number| (0..3).map(move |index| (number, index))).collect::<Vec<_>>());
    drop(slow);
    ends.publish(0..1);
    let error = transform.turn(NOW, |_, outputs| {
        loop {
            outputs.publish(b"x")?;
        }
    });
    assert!(error.unwrap_err().to_string().contains("too many outputs"));
}
