//! Merged answers whose parts are large: read into one buffer, written around, and never mixed up or cut.
//!
//! RFC 9112 §6.2. Sizes lie around those of both kinds of buffers. Nothing here waits for a length of time.

use crate::aggregate::{DASHBOARD, merging};
use crate::support::eventually;
use crate::support::origin::{Origin, Step, answer};

#[test]
fn a_large_part_is_merged_whole() {
    let list = serde_json::to_string(&(0..40_000).collect::<Vec<u32>>()).unwrap();
    let (user, order, notif) = (Origin::saying("{}"), Origin::saying(&list), Origin::saying("0"));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let text = gateway.get("/dashboard").expect(200).text();
    assert!(text == format!("{{\"user\":{{}},\"orders\":{list},\"unread\":0}}"));
}

/// An array of so many bytes.
fn array_of(bytes: usize) -> String {
    let mut text = String::from("[0");
    while text.len() < bytes - 1 {
        text.push_str(if bytes - 1 - text.len() == 1 { " " } else { ",7" });
    }
    text.push(']');
    text
}

#[test]
fn parts_around_the_size_of_a_buffer_are_merged_whole_again_and_again() {
    // One connection: what its last answer was decides what the next one is read into.
    let kib = [1, 70, 100, 8, 255, 256, 257, 300, 71, 72, 73, 200];
    let bodies: Vec<String> =
        kib.iter().flat_map(|kib| [kib * 1024 - 1, kib * 1024 + 1].map(array_of)).collect();
    let halves = Origin::script(move |request| {
        let body = &bodies[request.turn % bodies.len()];
        // The head and the first bytes, and the rest when these may be there already.
        let whole = answer(200, &[("content-type", "application/json")], body.as_bytes());
        let (first, second) = whole.split_at(whole.len() / 3);
        vec![Step::Send(first.to_vec()), Step::Send(second.to_vec())]
    });
    let (user, notif) = (Origin::saying("{}"), Origin::saying("0"));
    let gateway = merging(DASHBOARD, &user, &halves, &notif);
    let mut client = gateway.connect();
    for turn in 0..3 * 2 * kib.len() {
        let text = client.get("/dashboard", &[]).expect(200).text();
        let bytes = kib[turn / 2 % kib.len()] * 1024 + if turn % 2 == 0 { 0 } else { 2 } - 1;
        assert!(
            text == format!("{{\"user\":{{}},\"orders\":{},\"unread\":0}}", array_of(bytes)),
            "{bytes}"
        );
    }
    assert!(halves.requests().iter().all(|request| request.connection == 0));
}

#[test]
fn an_answer_larger_than_sockets_hold_waits_for_its_client_and_arrives_whole() {
    // Together more than the kernel keeps for a client that reads nothing.
    let part = array_of((4 << 20) - 4096);
    let (user, order, notif) =
        (Origin::saying(&part), Origin::saying(&part), Origin::saying(&part));
    let gateway = merging(DASHBOARD, &user, &order, &notif);
    let mut client = gateway.connect();
    for turn in 1..=2 {
        client.send("GET /dashboard HTTP/1.1\r\nhost: x\r\n\r\n");
        let waits = || [&user, &order, &notif].iter().all(|origin| origin.requests().len() == turn);
        eventually("all parts are asked", waits);
        let response = client.response().expect(200);
        let document = format!("{{\"user\":{part},\"orders\":{part},\"unread\":{part}}}");
        assert!(response.text() == document);
    }
}
