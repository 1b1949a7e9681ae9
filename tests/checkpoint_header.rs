//! Headers: what is refused and in which words, and agreement with the safetensors library.

mod checkpoint_support;

use checkpoint_support::{golden_file, image, put, valid_image};
use fourbit::checkpoint::Checkpoint;
use fourbit::checkpoint::header::Header;
use fourbit::checkpoint::limits::{MAX_HEADER_BYTES, MAX_NAME_BYTES};
use proptest::prelude::*;

/// Header, bytes of data after it, and words that the error must hold.
const HOSTILE: &[(&str, usize, &str)] = &[
    ("", 0, "JSON object"),
    ("[]", 0, "JSON object"),
    ("  {}", 0, "JSON object"),
    ("{", 0, "EOF"),
    ("{} {}", 0, "trailing"),
    ("{\"a\":1}", 0, "tensor \"a\""),
    ("{\"a\":{}}", 0, "field shape is missing"),
    (r#"{"a":{"shape":[],"data_offsets":[0,1]}}"#, 1, "field dtype is missing"),
    (r#"{"a":{"dtype":"U8","shape":[1]}}"#, 1, "field data_offsets is missing"),
    (r#"{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,1]}}"#, 1, "\"F3\": expected one of F64"),
    (r#"{"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}}"#, 1, "field dtype"),
    (r#"{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1, "field dtype stands twice"),
    (r#"{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}"#, 1, "field shape stands twice"),
    (r#"{"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}"#, 1, "field shape"),
    (r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, 1, "field shape"),
    (r#"{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#, 1, "field shape"),
    (r#"{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#, 1, "more than 8 numbers"),
    (r#"{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}"#, 1, "63 bits"),
    (r#"{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}"#, 1, "field shape"),
    (r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "63 bits"),
    (r#"{"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "63 bits"),
    (
        r#"{"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}"#,
        0,
        "takes more than 2^64",
    ),
    (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#, 1, "1 numbers, expected 2"),
    (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#, 1, "more than 2 numbers"),
    (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, 1, "ends before it starts"),
    (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}"#, 1, "holds 1 bytes, but U8 [2] takes 2"),
    (
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615]}}"#,
        1,
        "out of range",
    ),
    (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "leaves a hole"),
    (
        r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
        3,
        "tensor \"b\": field data_offsets: starts at 1 where 2 was expected: overlaps",
    ),
    (
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#,
        3,
        "tensor \"b\": field data_offsets: starts at 2 where 1 was expected: leaves a hole",
    ),
    (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 3, "cut short"),
    (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 5, "no tensor owns"),
    ("{}", 1, "no tensor owns"),
    (
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
        2,
        "tensor \"a\": the name stands twice",
    ),
    (r#"{"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1, "NUL"),
    (r#"{"__metadata__":{"a":1}}"#, 0, "expected a string"),
    (r#"{"__metadata__":[]}"#, 0, "__metadata__"),
    (r#"{"__metadata__":{},"__metadata__":{}}"#, 0, "__metadata__ stands twice"),
];

#[test]
fn hostile_headers_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (header, data, words) in HOSTILE {
        let path = put(directory.path(), "x.safetensors", &image(header, &vec![0; *data]));
        let error = Checkpoint::open(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, fourbit::Error::Format(_)), "{header}: {text}");
        assert!(text.contains(words), "{header}: {text}");
        assert!(text.starts_with(&*path.to_string_lossy()), "{header}: {text}");
    }
}

#[test]
fn names_and_lists_without_end_are_refused() {
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let header = format!("{{\"{long}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}}}");
    let error = Header::from_image(&image(&header, &[0])).unwrap_err().to_string();
    assert!(error.contains("name of 1025 bytes"), "{error}");
    assert!(error.len() < 400, "a hostile name must not fill the message");

    let endless = format!("{{\"a\":{{\"dtype\":\"U8\",\"shape\":[{}1]}}}}", "1,".repeat(1 << 20));
    assert!(Header::from_image(&image(&endless, &[])).unwrap_err().to_string().contains("more than 8"));

    let deep = format!("{{\"a\":{}", "[".repeat(1 << 20));
    assert!(Header::from_image(&image(&deep, &[])).is_err());
    let deep = format!("{{\"a\":{{\"x\":{}", "[".repeat(1 << 20));
    assert!(Header::from_image(&image(&deep, &[])).is_err());

    assert!(Header::from_image(&image("{\"\u{e9}\":1}", &[])).is_err());
    let mut not_utf8 = image("{\"ab\":1}", &[]);
    not_utf8[10] = 0xff;
    assert!(Header::from_image(&not_utf8).unwrap_err().to_string().contains("not UTF-8 after byte 2"));
}

#[test]
fn too_many_tensors_are_refused() {
    use std::fmt::Write as _;
    let mut header = String::from("{");
    for i in 0..=fourbit::checkpoint::limits::MAX_FILE_TENSORS {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(header, "{comma}\"{i}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    }
    let error = Header::from_image(&image(&(header + "}"), &[])).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 tensors"), "{error}");
}

#[test]
fn wrong_length_prefixes_are_refused() {
    let good = valid_image(&[("a", "U8", &[3], vec![1, 2, 3])]);
    for (prefix, words) in [
        (u64::MAX, "at most 100000000"),
        (MAX_HEADER_BYTES + 1, "at most 100000000"),
        (MAX_HEADER_BYTES, "cut short"),
        (good.len() as u64 - 7, "cut short"),
        (0, "JSON object"),
    ] {
        let mut bad = good.clone();
        bad[..8].copy_from_slice(&prefix.to_le_bytes());
        let error = Header::from_image(&bad).unwrap_err().to_string();
        assert!(error.contains(words), "{prefix}: {error}");
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert!(Header::from_image(pointer).unwrap_err().to_string().contains("git lfs pull"));
}

#[test]
fn every_truncation_of_a_real_file_is_refused() {
    let whole = std::fs::read(golden_file()).unwrap();
    let header = Header::from_image(&whole).unwrap();
    let boundaries = header.tensors.iter().flat_map(|t| [t.range.start, t.range.end]);
    let cuts = (0..16).chain(boundaries).flat_map(|b| [b.saturating_sub(1), b, b + 1]);
    for cut in cuts.filter(|&c| c < whole.len() as u64) {
        let error = Header::from_image(&whole[..cut as usize]).unwrap_err();
        assert!(matches!(error, fourbit::Error::Format(_)), "cut at {cut}: {error}");
    }
}

/// Name, dtype, shape and place.
type Described = (String, String, Vec<u64>, std::ops::Range<u64>);

/// The library's view of an image, in our terms.
fn theirs(bytes: &[u8]) -> Option<Vec<Described>> {
    let (n, metadata) = safetensors::SafeTensors::read_metadata(bytes).ok()?;
    let start = 8 + n as u64;
    Some(
        metadata
            .offset_keys()
            .into_iter()
            .map(|name| {
                let info = metadata.info(&name).unwrap();
                let (a, b) = info.data_offsets;
                let shape = info.shape.iter().map(|&d| d as u64).collect();
                (name, info.dtype.to_string(), shape, start + a as u64..start + b as u64)
            })
            .collect(),
    )
}

#[test]
fn reads_a_real_file_as_the_library_does() {
    let bytes = std::fs::read(golden_file()).unwrap();
    let ours: Vec<_> = Header::from_image(&bytes)
        .unwrap()
        .tensors
        .into_iter()
        .map(|t| (t.name, t.dtype.safetensors_name().to_owned(), t.shape.dims().to_vec(), t.range))
        .collect();
    assert_eq!(Some(ours), theirs(&bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// One changed byte: never a panic, and nothing is accepted that the library refuses.
    #[test]
    fn damaged_headers(at in 0usize..4096, to in any::<u8>()) {
        let mut bytes = std::fs::read(golden_file()).unwrap();
        bytes[at] = to;
        if let Ok(header) = Header::from_image(&bytes) {
            let theirs = theirs(&bytes);
            prop_assert_eq!(theirs.map(|t| t.len()), Some(header.tensors.len()));
        }
    }
}
