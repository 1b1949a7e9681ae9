//! `fourbit report`: the page is well-formed, agrees with `verify`, lets nothing through from a file, and
//! says what does not belong together.

mod checkpoint_support;
mod cli_support;

use std::path::Path;

use checkpoint_support::{golden_file, names};
use cli_support::{FIXTURE, Run, checkpoint, fourbit, json, ok, quantized, tensors, text};
use serde_json::{Value, json};

/// An element of the page: its tag, its attributes as they stand, the text in it and its descendants.
#[derive(Debug)]
struct Element {
    tag: String,
    attributes: String,
    text: String,
}

/// Reads the page as strictly as an XML parser would: every element closed in order, every attribute
/// quoted, no bare ampersand or bracket.
#[track_caller]
fn parse(page: &str) -> Vec<Element> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("a doctype");
    let mut open: Vec<usize> = Vec::new();
    let mut elements: Vec<Element> = Vec::new();
    loop {
        let (between, after) = rest.split_once('<').unwrap_or((rest, ""));
        let between = unescaped(between);
        for &i in &open {
            elements[i].text += &between;
        }
        if after.is_empty() {
            break;
        }
        let (tag, after) = after.split_once('>').expect("a tag that ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().expect("an element that is open");
            assert_eq!(elements[last].tag, name);
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
        check_attributes(attributes);
        let (name, attributes) = (name.to_owned(), attributes.to_owned());
        elements.push(Element { tag: name, attributes, text: String::new() });
        if !closed {
            open.push(elements.len() - 1);
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    elements
}

#[track_caller]
fn check_attributes(text: &str) {
    let parts: Vec<&str> = text.split('"').collect();
    assert!(parts.len() % 2 == 1, "quotes of {text}");
    for pair in parts.chunks_exact(2) {
        let name = pair[0].trim().strip_suffix('=').unwrap_or_else(|| panic!("a name and = in {text}"));
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{text}");
        assert!(!name.starts_with("on"), "a script: {text}");
        unescaped(pair[1]);
    }
    assert_eq!(parts.last().map(|p| p.trim()), Some(""), "{text}");
}

#[track_caller]
fn unescaped(text: &str) -> String {
    assert!(!text.contains('>') || text.contains('{'), "a bare bracket: {text}");
    let mut out = String::new();
    for (i, part) in text.split('&').enumerate() {
        let known = [("amp;", '&'), ("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("#39;", '\'')];
        match known.iter().find_map(|(name, c)| Some((part.strip_prefix(name)?, c))) {
            _ if i == 0 => out += part,
            Some((rest, c)) => {
                out.push(*c);
                out += rest;
            }
            None => panic!("a bare ampersand: {text}"),
        }
    }
    out
}

fn report(model: &str, quantized: &str, page: &Path, more: &[&str]) -> Run {
    fourbit(&[&["report", model, quantized, "-o", text(page)], more].concat())
}

/// The page of a report, and whether there was nothing to find.
#[track_caller]
fn page_of(model: &str, quantized: &str, more: &[&str]) -> (String, bool) {
    let place = tempfile::tempdir().unwrap();
    let page = place.path().join("page.html");
    let run = report(model, quantized, &page, more);
    assert!(run.code == 0 || run.code == 1, "{}", run.err);
    assert_eq!(names(place.path()), ["page.html"], "nothing else is left");
    (std::fs::read_to_string(&page).unwrap(), run.code == 0)
}

#[test]
fn the_page_agrees_with_verify() {
    let (_place, out) = quantized(FIXTURE, &[]);
    let (page, good) = page_of(FIXTURE, text(&out), &[]);
    assert!(good);
    let elements = parse(&page);
    let verified = json(&["verify", FIXTURE, text(&out), "--json"]);
    let mut weights: Vec<&Value> =
        verified["tensors"].as_array().unwrap().iter().filter(|t| t["snr_db"].is_number()).collect();
    assert_eq!(weights.len(), 35);
    let number = |t: &Value, key: &str| t[key].as_f64().unwrap();
    weights.sort_by(|a, b| number(a, "snr_db").total_cmp(&number(b, "snr_db")));
    let rows: Vec<&str> = elements.iter().filter(|e| e.tag == "tr").map(|e| e.text.as_str()).collect();
    for weight in &weights[..15] {
        let name = weight["name"].as_str().unwrap().trim_end_matches(".weight");
        let row = rows.iter().find(|row| row.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        for words in [
            format!("{:.2}", number(weight, "snr_db")),
            format!("{:.3e}", number(weight, "rms_error")),
            format!("{:.3e}", number(weight, "max_error")),
        ] {
            assert!(row.contains(&words), "{words}: {row}");
        }
    }
    // Each weight is a cell of the map of colours.
    for weight in &weights {
        let name = weight["name"].as_str().unwrap().trim_end_matches(".weight");
        let title = format!("{name}: {:.2} dB", number(weight, "snr_db"));
        assert!(elements.iter().any(|e| e.tag == "title" && e.text.starts_with(&title)), "{title}");
    }
    let length = |dir: &Path| std::fs::metadata(dir.join("model.safetensors")).unwrap().len();
    let total = rows.iter().find(|row| row.starts_with("total")).unwrap().replace('\u{a0}', "");
    assert!(total.contains(&format!("48{}{}", length(Path::new(FIXTURE)), length(&out))), "{total}");
}

#[test]
fn the_page_stands_alone_and_is_reproducible() {
    let (_place, out) = quantized(FIXTURE, &["--quant-type", "fp4", "--no-double-quant"]);
    let (page, _) = page_of(FIXTURE, text(&out), &["--threads", "1"]);
    let (again, _) = page_of(FIXTURE, text(&out), &["--threads", "3"]);
    assert!(page == again, "the same bytes for any number of threads");
    for element in parse(&page) {
        assert!(!matches!(element.tag.as_str(), "script" | "link" | "img" | "iframe" | "a"), "{element:?}");
        assert!(!element.attributes.contains("src=") && !element.attributes.contains("href="), "{element:?}");
    }
    for outside in ["url(", "@import", "http:", "https:", text(out.parent().unwrap())] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("fp4, blocks of 64"));
}

#[test]
fn captions_and_titles_say_what_is_shown() {
    let (_place, out) = quantized(FIXTURE, &[]);
    let limits = ["--max-memory", "0=400KiB,1=450KiB"];
    let (page, good) = page_of(FIXTURE, text(&out), &limits);
    assert!(good);
    let elements = parse(&page);
    let count = |tag: &str| elements.iter().filter(|e| e.tag == tag).count();
    assert_eq!(count("table"), count("caption"));
    assert!(elements.iter().filter(|e| e.tag == "svg").all(|e| e.attributes.contains("aria-label=")));
    let captions: Vec<&str> =
        elements.iter().filter(|e| e.tag == "figcaption").map(|e| e.text.as_str()).collect();
    for words in
        ["Device map: auto", "For comparison: fit", "For comparison: auto by the sizes of transformers 5.23"]
    {
        assert!(captions.contains(&words), "{words}: {captions:?}");
    }
    let placed: Vec<&Element> =
        elements.iter().filter(|e| e.tag == "title" && e.text.contains(" on GPU 1: ")).collect();
    assert!(placed.iter().any(|e| e.text.starts_with("model.layers.")), "{placed:?}");
}

#[test]
fn an_existing_page_is_replaced_only_if_asked() {
    let (place, out) = quantized(FIXTURE, &[]);
    let page = place.path().join("page.html");
    std::fs::write(&page, "mine").unwrap();
    let refused = report(FIXTURE, text(&out), &page, &[]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("page.html") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(std::fs::read(&page).unwrap(), b"mine");
    let result: Value =
        serde_json::from_str(&report(FIXTURE, text(&out), &page, &["--force", "--json"]).out).unwrap();
    assert_eq!((&result["ok"], &result["weights"], &result["kept"]), (&json!(true), &json!(35), &json!(13)));
    assert_eq!(result["bytes"].as_u64(), Some(std::fs::metadata(&page).unwrap().len()));
    assert_eq!(report(FIXTURE, text(&out), place.path(), &["--force"]).code, 2, "a directory");
    let nowhere = place.path().join("no/such/page.html");
    assert_eq!(report(FIXTURE, text(&out), &nowhere, &[]).code, 2);
    assert_eq!(report(FIXTURE, FIXTURE, &place.path().join("other.html"), &[]).code, 2, "not quantized");
}

/// Two models of the same shapes with other values.
fn two_models() -> [(tempfile::TempDir, String); 2] {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "vocab_size": 96,
    });
    [0, 1].map(|turn| {
        let names = ["model.embed_tokens", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"];
        let mut shapes: Vec<(String, Vec<u64>)> =
            names.iter().map(|n| (format!("{n}.weight"), vec![96, 64])).collect();
        shapes.push(("lm_head.weight".to_owned(), vec![96, 64]));
        // Values go by position.
        shapes.rotate_left(turn);
        checkpoint(&config, &tensors(&shapes))
    })
}

#[test]
fn weights_of_another_source_are_found() {
    let [(_a, one), (_b, other)] = two_models();
    let (_place, out) = quantized(&one, &[]);
    assert!(page_of(&one, text(&out), &[]).1);
    let (page, good) = page_of(&other, text(&out), &[]);
    assert!(!good);
    let rows: Vec<String> = parse(&page).into_iter().filter(|e| e.tag == "tr").map(|e| e.text).collect();
    let says = |name: &str, words: &str| rows.iter().any(|row| row.starts_with(name) && row.contains(words));
    assert!(
        says("model.layers.0.mlp.up_proj", "does not look like a quantization of the source"),
        "{rows:?}"
    );
    assert!(says("model.embed_tokens", "its values are not the source"), "{rows:?}");
}

#[test]
fn missing_tensors_and_other_shapes_are_found() {
    let config =
        json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"});
    let model = |shapes: &[(&str, [u64; 2])]| {
        let shapes: Vec<(String, Vec<u64>)> =
            shapes.iter().map(|(n, d)| ((*n).to_owned(), d.to_vec())).collect();
        checkpoint(&config, &tensors(&shapes))
    };
    let layer = "model.layers.0.mlp.up_proj.weight";
    let (_a, source) = model(&[(layer, [64, 96]), ("model.layers.0.mlp.down_proj.weight", [64, 64])]);
    let (_b, other) = model(&[(layer, [96, 64]), ("model.layers.1.mlp.up_proj.weight", [64, 64])]);
    let (_place, out) = quantized(&other, &[]);
    let (page, good) = page_of(&source, text(&out), &[]);
    assert!(!good);
    for words in ["quant state says", "is missing in the quantized checkpoint", "but not in the source"] {
        assert!(parse(&page).iter().any(|e| e.tag == "td" && e.text.contains(words)), "{words}");
    }
}

#[test]
fn hostile_names_are_only_text() {
    let hostile = "</style></title><script>alert('1')</script>&amp;\u{202e}\"onload=\".x";
    let mut shapes = vec![(hostile.to_owned(), vec![4])];
    shapes.push(("model.layers.0.mlp.up_proj.weight".to_owned(), vec![64, 64]));
    let config = json!({
        "architectures": [hostile], "model_type": "llama", "torch_dtype": "bfloat16",
        "transformers_version": hostile,
    });
    let (_a, source) = checkpoint(&config, &tensors(&shapes));
    let (_b, bare) = checkpoint(&config, &tensors(&shapes[1..]));
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("<b onclick='x'>&");
    ok(&["quantize", &bare, text(&out), "--quiet"]);
    let (page, good) = page_of(&source, text(&out), &["--device-map", "0"]);
    assert!(!good, "the tensor is missing");
    let elements = parse(&page);
    assert!(elements.iter().all(|e| e.tag != "script" && e.tag != "b" || !e.text.contains("alert")));
    assert!(!page.contains("<b onclick") && !page.contains("<script"));
    let shown = hostile.replace('\u{202e}', "\\u{202e}");
    for tag in ["th", "td"] {
        assert!(elements.iter().any(|e| e.tag == tag && e.text.contains(&shown)), "{tag}");
    }
    let run = report(&source, text(&out), &place.path().join("p.html"), &[]);
    assert!(run.code == 1 && !run.out.contains('\u{202e}'), "{}", run.out);
}

#[test]
fn checkpoints_of_transformers_and_shards_are_read() {
    let place = tempfile::tempdir().unwrap();
    let theirs = place.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::copy(golden_file(), theirs.join("model.safetensors")).unwrap();
    std::fs::copy(golden_file().with_extension("config.json"), theirs.join("config.json")).unwrap();
    let back = place.path().join("back");
    ok(&["dequantize", text(&theirs), text(&back), "--quiet"]);
    let (page, good) = page_of(text(&back), text(&theirs), &[]);
    assert!(good, "{page}");
    parse(&page);
    let (_a, shards) = quantized(FIXTURE, &["--max-shard-size", "100KB", "--profile", "v5"]);
    let (page, good) = page_of(FIXTURE, text(&shards), &[]);
    assert!(good);
    assert!(parse(&page).iter().any(|e| e.text.starts_with("null, so that") || e.text.contains("null")));
}
