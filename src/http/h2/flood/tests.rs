//! Sequences of frames, cut anywhere, and what is noticed of them (RFC 9113 §10.5).

use std::time::Duration;

use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1];
    bytes.extend_from_slice(payload);
    bytes
}

fn now(secs: u64) -> Instant {
    Instant::from_nanos((1_000 + secs) * 1_000_000_000)
}

/// How many of `bytes` pass before something is said.
fn passed(frames: &mut Frames, bytes: &[u8], most: u32, at: Instant) -> (u32, Option<Flood>) {
    for count in 0..most {
        match frames.look(bytes, at) {
            Ok(()) => {}
            Err(Offence::Flood(flood)) => return (count, Some(flood)),
            Err(other) => panic!("{other:?}"),
        }
    }
    (most, None)
}

#[test]
fn blocks_are_found_between_padding_and_priority_and_across_frames() {
    let open = frame(kind::HEADERS, END_HEADERS, &[0x82, 0x86, 0x84]);
    let ended = frame(kind::HEADERS, END_STREAM | END_HEADERS, &[0x82, 0x86, 0x84]);
    let twice = [&ended[..], &ended].concat();
    assert_eq!(Frames::new(now(0), 0).look(&twice, now(0)), Err(Offence::Closed), "no trailers");
    let padded = |flags: u8, payload: &[u8]| frame(kind::HEADERS, flags, payload);
    let good: [Vec<u8>; 3] = [
        padded(END_STREAM | END_HEADERS | PADDED, b"\x02\x00\x01x\x01y\x82\x82"),
        padded(
            END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
            b"\x01\0\0\0\0\0\x00\x01x\x01y\x82",
        ),
        [padded(END_STREAM, b"\x00\x01"), frame(kind::CONTINUATION, END_HEADERS, b"x\x01y")]
            .concat(),
    ];
    let bad: [Vec<u8>; 4] = [
        padded(END_STREAM | END_HEADERS, &[0x82]),
        padded(END_STREAM | END_HEADERS | PADDED, b"\x01\x82\x00"),
        padded(END_STREAM | END_HEADERS | WITH_PRIORITY, b"\0\0\0\0\0\x82"),
        [padded(END_STREAM, b""), frame(kind::CONTINUATION, END_HEADERS, &[0x82])].concat(),
    ];
    let cases = good.iter().map(|bytes| (bytes, Ok(())));
    for (bytes, said) in cases.chain(bad.iter().map(|bytes| (bytes, Err(Offence::Malformed)))) {
        let all = [&open[..], bytes].concat();
        assert_eq!(Frames::new(now(0), 0).look(&all, now(0)), said, "{bytes:?}");
        let mut frames = Frames::new(now(0), 0);
        let cut = all.iter().try_for_each(|byte| frames.look(&[*byte], now(0)));
        assert_eq!(cut, said, "byte by byte: {bytes:?}");
    }
}

#[test]
fn each_kind_has_its_own_budget() {
    let kinds: [(Vec<u8>, Flood, u32); 8] = [
        (frame(kind::RST_STREAM, 0, &[0; 4]), Flood::Resets, H2_RESETS_BURST),
        (frame(kind::SETTINGS, 0, &[]), Flood::Settings, H2_SETTINGS_BURST),
        (frame(kind::PING, 0, &[0; 8]), Flood::Pings, H2_PINGS_BURST),
        (frame(kind::PRIORITY, 0, &[0; 5]), Flood::Priorities, H2_PRIORITIES_BURST),
        (frame(kind::WINDOW_UPDATE, 0, &[0; 4]), Flood::WindowUpdates, H2_WINDOW_UPDATES_BURST),
        (frame(kind::DATA, 0, &[]), Flood::EmptyFrames, H2_EMPTY_FRAMES_BURST),
        (frame(kind::CONTINUATION, 0, &[]), Flood::EmptyFrames, H2_EMPTY_FRAMES_BURST),
        (frame(0x55, 0, &[0; 3]), Flood::Unknown, H2_UNKNOWN_BURST),
    ];
    for (bytes, flood, burst) in kinds {
        let mut frames = Frames::new(now(0), 0);
        // A CONTINUATION earns window updates and nothing else.
        assert_eq!(passed(&mut frames, &bytes, burst + 1, now(0)), (burst, Some(flood)));
    }
}

#[test]
fn time_gives_back_and_honest_work_does() {
    let mut frames = Frames::new(now(0), 0);
    let reset = frame(kind::RST_STREAM, 0, &[0; 4]);
    assert_eq!(passed(&mut frames, &reset, H2_RESETS_BURST, now(0)).1, None);
    assert_eq!(passed(&mut frames, &reset, 10, now(1)).1, None, "a second later");
    let mut frames = Frames::new(now(0), 0);
    for _ in 0..H2_RESETS_BURST * 3 {
        frames.stream_done();
        assert_eq!(frames.look(&reset, now(0)), Ok(()), "as many are ended as are given up");
    }
    let ping = frame(kind::PING, 0, &[0; 8]);
    let leaves = [&[0, 0x40, 0, kind::DATA, 0, 0, 0, 0, 1][..], &[0; 16 * 1024]].concat();
    for _ in 0..H2_PINGS_BURST * 3 {
        frames.sent(&leaves);
        assert_eq!(frames.look(&ping, now(0)), Ok(()), "a client that measures its download");
    }
}

#[test]
fn frames_may_be_cut_anywhere_and_payloads_are_never_taken_for_frames() {
    let mut bytes = vec![0; 3];
    // A payload full of what would be SETTINGS.
    let settings = frame(kind::SETTINGS, 0, &[]);
    bytes.extend(&settings);
    bytes.extend(frame(kind::DATA, 0, &settings.repeat(20)));
    bytes.extend(frame(kind::HEADERS, END_STREAM, &[0x82, 0x86]));
    let mut frames = Frames::new(now(0), 3);
    for byte in &bytes {
        frames.look(&[*byte], now(5)).expect("nothing is too much");
    }
    assert_eq!(frames.spent[Flood::Settings as usize], 1);
    assert_eq!(frames.block_since(), Some(now(5)));
    frames.look(&frame(kind::CONTINUATION, END_HEADERS, &[0x84]), now(6)).expect("one");
    assert_eq!(frames.block_since(), None);
    assert!(now(6).since(now(5)) == Duration::from_secs(1));
}

#[test]
fn a_request_that_goes_on_is_never_forgotten_until_it_is_reset() {
    let on = |stream: u32, flags: u8, payload: &[u8]| {
        let mut bytes = frame(kind::HEADERS, flags, payload);
        bytes[5..9].copy_from_slice(&stream.to_be_bytes());
        bytes
    };
    let mut frames = Frames::new(now(0), 0);
    let most = H2_OPEN_FOLLOWED_MAX as u32;
    for number in 0..most {
        let opens = on(number * 2 + 1, END_HEADERS, &[0x82]);
        assert_eq!(frames.look(&opens, now(0)), Ok(()));
    }
    let mut reset = frame(kind::RST_STREAM, 0, &[0, 0, 0, 7]);
    frames.sent(&reset[..5]);
    frames.sent(&reset[5..]);
    assert_eq!(frames.look(&on(most * 2 + 1, END_HEADERS, &[0x82]), now(0)), Ok(()));
    reset[8] = 3;
    frames.sent(&reset);
    assert_eq!(frames.look(&on(most * 2 + 3, END_HEADERS, &[0x82]), now(0)), Ok(()));
    assert_eq!(frames.open.first(), Some(&5), "the oldest that is left");
    let bounded = Err(Offence::Flood(Flood::Bounded));
    assert_eq!(frames.look(&on(most * 2 + 5, END_HEADERS, &[0x82]), now(0)), bounded);
}

#[test]
fn what_is_closed_or_has_a_wrong_size_is_told_by_its_name() {
    let whole = frame(kind::HEADERS, END_STREAM | END_HEADERS, &[0x82]);
    let opens = frame(kind::HEADERS, END_HEADERS, &[0x82]);
    let data = frame(kind::DATA, END_STREAM, b"x");
    let reset = frame(kind::RST_STREAM, 0, &[0; 4]);
    let window = |value: [u8; 4]| frame(kind::SETTINGS, 0, &[&[0, 4][..], &value].concat());
    type Case<'a> = (&'a [&'a [u8]], Result<(), Offence>);
    let cases: [Case<'_>; 9] = [
        (&[&whole, &data], Err(Offence::Closed)),
        (&[&opens, &data, &data], Err(Offence::Closed)),
        (&[&opens, &reset, &data], Err(Offence::Closed)),
        (&[&opens, &reset, &reset], Ok(())),
        (&[&frame(kind::PING, 0, &[0; 7])], Err(Offence::Size)),
        (&[&frame(kind::SETTINGS, ACK, &[0; 6])], Err(Offence::Size)),
        (&[&frame(kind::HEADERS, 0, b""), &frame(kind::PING, 0, b"")], Err(Offence::Malformed)),
        (&[&window([0x80, 0, 0, 0])], Err(Offence::Window)),
        (&[&window([0x7f, 0xff, 0xff, 0xff]), &data], Ok(())),
    ];
    for (pieces, said) in cases {
        let all = pieces.concat();
        assert_eq!(Frames::new(now(0), 0).look(&all, now(0)), said, "{all:?}");
        let mut frames = Frames::new(now(0), 0);
        let cut = all.iter().try_for_each(|byte| frames.look(&[*byte], now(0)));
        assert_eq!(cut, said, "byte by byte: {all:?}");
    }
    assert_eq!(
        Frames::new(now(0), 1).look(&[&[0], &whole[..]].concat(), now(0)),
        Err(Offence::Malformed)
    );
}
