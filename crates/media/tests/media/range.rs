//! The `Range` header, with tables of cases and with random values.

use media::range::{ByteRange, RangeOutcome, parse};
use proptest::prelude::*;

const fn part(start: u64, end_inclusive: u64) -> RangeOutcome {
    RangeOutcome::Part(ByteRange { start, end_inclusive })
}

#[test]
fn headers_are_parsed_by_rfc_9110() {
    use RangeOutcome::{Unsatisfiable, Whole};
    let table = [
        ("bytes=0-0", 10, part(0, 0)),
        ("bytes=0-9", 10, part(0, 9)),
        ("bytes=0-10", 10, part(0, 9)),
        ("bytes=2-", 10, part(2, 9)),
        ("bytes=-3", 10, part(7, 9)),
        ("bytes=-30", 10, part(0, 9)),
        ("Bytes=1-2", 10, part(1, 2)),
        ("bytes= 1-2 ", 10, part(1, 2)),
        ("bytes=,1-2,", 10, part(1, 2)),
        ("bytes=0-99999999999999999999999", 10, part(0, 9)),
        ("bytes=-99999999999999999999999", 10, part(0, 9)),
        ("bytes=10-", 10, Unsatisfiable),
        ("bytes=10-11", 10, Unsatisfiable),
        ("bytes=99999999999999999999999-", 10, Unsatisfiable),
        ("bytes=-0", 10, Unsatisfiable),
        ("bytes=0-", 0, Unsatisfiable),
        ("bytes=-0", 0, Unsatisfiable),
        ("bytes=-1", 0, Whole),
        ("bytes=0-1,3-4", 10, Whole),
        ("bytes=3-2", 10, Whole),
        ("bytes=", 10, Whole),
        ("bytes=-", 10, Whole),
        ("bytes=a-b", 10, Whole),
        ("bytes=+1-2", 10, Whole),
        ("bytes=1 - 2", 10, Whole),
        ("bytes=1--2", 10, Whole),
        ("bytes 1-2", 10, Whole),
        ("items=1-2", 10, Whole),
        ("", 10, Whole),
    ];
    for (header, size, expected) in table {
        assert_eq!(parse(header, size), expected, "{header:?} of {size}");
    }
}

#[test]
fn a_part_has_its_length_and_content_range() {
    let RangeOutcome::Part(range) = parse("bytes=2-4", 10) else { panic!("not a part") };
    assert_eq!((range.len(), range.content_range(10)), (3, "bytes 2-4/10".to_owned()));
}

proptest! {
    #[test]
    fn a_parsed_part_is_within_the_file(header in "(bytes=)?[0-9]{0,20}-[0-9]{0,20}.{0,3}", size: u64) {
        if let RangeOutcome::Part(range) = parse(&header, size) {
            prop_assert!(range.start <= range.end_inclusive && range.end_inclusive < size);
        }
    }

    #[test]
    fn satisfiable_ranges_are_taken_literally(start in 0_u64..1000, length in 1_u64..1000) {
        let end = start + length - 1;
        prop_assert_eq!(parse(&format!("bytes={start}-{end}"), end + 1), part(start, end));
    }
}
