use prost::Message as _;
use trunkline_types::{Boot, Bucket, Lane, LogName, NodeId, Ordinal};

use super::*;
use crate::internal::{
    FollowRequest, Held, LogHeld, LogReport, OnDisk, Report, SessionRequest, relayed_frame, session_request,
};

fn log(ordinal: u32) -> LogName {
    let boot = Boot { counter: 3, random: 4 };
    LogName { bucket: Bucket(1), node: NodeId(2), boot, lane: Lane(0), ordinal: Ordinal(ordinal) }
}

fn report(ordinals: &[u32]) -> SessionRequest {
    let said = |&ordinal: &u32| LogReport { log: Some(log(ordinal).into()), held: 9, ..LogReport::default() };
    let report = Report { group: 1, logs: ordinals.iter().map(said).collect(), ..Report::default() };
    SessionRequest { what: Some(session_request::What::Report(report)) }
}

fn frame(store: u64, ordinals: &[u32]) -> RelayedFrame {
    let said = |&ordinal: &u32| LogHeld { log: Some(log(ordinal).into()), held: 9 };
    let held = Held { group: 1, ended: ordinals.iter().map(said).collect(), ..Held::default() };
    let boot = Some(Boot { counter: 7, random: store }.into());
    RelayedFrame { store, boot, what: Some(relayed_frame::What::Held(held)), hops: 1, number: 0 }
}

fn numbered(number: u32) -> FollowRequest {
    let log = Some(internal::LogName { number, ..internal::LogName::default() });
    FollowRequest { on_disk: vec![OnDisk { log, end: 1, ..OnDisk::default() }], ..FollowRequest::default() }
}

#[test]
fn a_name_is_said_whole_once_and_comes_out_whole_each_time() {
    let (mut shortening, mut restoring) = (Shortening::default(), Restoring::default());
    let mut sizes = Vec::new();
    for ordinals in [&[1, 2, 1][..], &[2, 1], &[3, 2]] {
        let mut sent = report(ordinals);
        shortening.shorten(&mut sent);
        sizes.push(sent.encoded_len());
        restoring.restore(&mut sent).unwrap();
        assert_eq!(sent, report(ordinals));
    }
    assert!(sizes[1] * 3 < report(&[2, 1]).encoded_len(), "{sizes:?}");
    let mut sizes = Vec::new();
    for (store, ordinals) in [(5, &[1, 9][..]), (5, &[9, 1]), (6, &[1])] {
        let mut sent = frame(store, ordinals);
        shortening.shorten_frame(&mut sent);
        sizes.push(sent.encoded_len());
        restoring.restore_frame(&mut sent).unwrap();
        assert_eq!(sent, frame(store, ordinals));
    }
    assert!(sizes[1] * 3 < frame(5, &[9, 1]).encoded_len(), "{sizes:?}");
}

#[test]
fn a_number_that_is_needed_again_means_the_newer_log_from_there_on() {
    let (mut shortening, mut restoring) = (Shortening::up_to(2), Restoring::default());
    for ordinals in [&[1, 2][..], &[3, 2, 1, 3], &[3, 3, 2, 1], &[1]] {
        let mut sent = report(ordinals);
        shortening.shorten(&mut sent);
        restoring.restore(&mut sent).unwrap();
        assert_eq!(sent, report(ordinals));
    }
    assert_eq!(shortening.logs.numbers.len(), 2);
}

#[test]
fn a_number_that_this_stream_has_not_given_is_no_log() {
    let (mut shortening, mut restoring) = (Shortening::default(), Restoring::default());
    let mut first = report(&[1]);
    shortening.shorten(&mut first);
    let mut second = report(&[1]);
    shortening.shorten(&mut second);
    // Another stream, to which the first message did not go.
    assert_eq!(restoring.restore(&mut second.clone()), Err(Malformed("number")));
    restoring.restore(&mut first).unwrap();
    restoring.restore(&mut second).unwrap();
    assert_eq!(restoring.restore(&mut numbered(2)), Err(Malformed("number")));
    let mut beyond = frame(5, &[]);
    beyond.number = SHORT_NUMBERS_MAX + 1;
    assert_eq!(restoring.restore_frame(&mut beyond), Err(Malformed("number")));
    let mut nobody = RelayedFrame { boot: None, ..frame(0, &[]) };
    assert_eq!(restoring.restore_frame(&mut nobody.clone()), Err(Malformed("frame.boot")));
    nobody.number = 1;
    assert_eq!(restoring.restore_frame(&mut nobody), Err(Malformed("number")));
}

#[test]
fn whole_names_need_no_number() {
    let mut restoring = Restoring::default();
    let mut sent = report(&[1]);
    restoring.restore(&mut sent).unwrap();
    assert_eq!(sent, report(&[1]));
}
