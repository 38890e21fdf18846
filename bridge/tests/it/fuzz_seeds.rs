//! The law of `fuzz/` for MLLP framing, held on its seeds: streams made of our own cases.

#[path = "../../../fuzz/src/mllp_frame.rs"]
mod mllp_frame;

use bridge::intake::frame;

#[test]
fn frames_do_not_depend_on_how_the_stream_is_split() {
    let case = include_bytes!("../../../mappings/cases/ACK/accepted.hl7");
    let framed = frame::encode(case);
    let streams = [&framed[..], b"noise\r\n", &framed, &framed[1..], b"\x0b\x1c\x1c\r", &framed[..9], &framed].concat();
    for (limit, cut) in [(255, 0), (255, 7), (40, 3), (0, 200)] {
        mllp_frame::hold(&[&[limit, cut][..], &streams].concat());
    }
}
