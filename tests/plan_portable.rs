//! Portable plans: nothing is converted that some version of transformers would not convert, and the
//! written skip list is read alike by every reader.

mod oracle;

use std::collections::{BTreeMap, HashMap, HashSet};

use fourbit::plan::{Action, Mode, Plan, PlanOptions, Profile};
use oracle::{Model, Version};
use regex_lite::Regex;

fn portable(model: &Model, mode: Mode) -> (HashSet<String>, Vec<String>) {
    let plan = Plan::new(&model.config(mode), &model.sources(), &PlanOptions::default()).unwrap();
    assert_eq!(plan.profile, Profile::Portable);
    let converted = plan.entries.iter().filter(|e| matches!(e.action, Action::Quantize { .. }));
    let names = converted.map(|e| e.source.name.clone()).collect();
    (names, plan.skip_modules.expect("a portable plan has an explicit list"))
}

/// The four matchers, written again and plainly: patterns one after another.
struct PlainReaders {
    list: Vec<String>,
    start: Vec<Regex>,
    bounded: Vec<Regex>,
}

impl PlainReaders {
    fn new(list: &[String]) -> Self {
        let compile = |text: String| Regex::new(&text).unwrap();
        PlainReaders {
            list: list.to_vec(),
            start: list.iter().map(|k| compile(format!("^(?:{k})"))).collect(),
            bounded: list.iter().map(|k| compile(format!(r"^(?:{k})(?:\.|$)"))).collect(),
        }
    }

    fn v4(&self, module: &str) -> bool {
        let leaf = module.rsplit('.').next().unwrap();
        self.list.iter().any(|k| leaf == k || module == k || module.contains(&format!("{k}.")))
    }

    fn v5_early(&self, module: &str) -> bool {
        self.list.iter().any(|k| module.ends_with(k.as_str()))
            || self.start.iter().any(|r| r.is_match(module))
    }

    fn v5(&self, module: &str) -> bool {
        self.list.iter().any(|k| module.ends_with(k.as_str()))
            || self.bounded.iter().any(|r| r.is_match(module))
    }

    fn vllm(&self, module: &str) -> bool {
        let parts: Vec<&str> = module.split('.').collect();
        (0..parts.len()).any(|i| self.list.iter().any(|k| k == parts[i] || *k == parts[..=i].join(".")))
    }

    fn all(&self, module: &str) -> [bool; 4] {
        [self.v4(module), self.v5_early(module), self.v5(module), self.vllm(module)]
    }
}

/// Modules where some reader does otherwise than the plan says.
fn disagreements(model: &Model, converted: &HashSet<String>, list: &[String]) -> Vec<String> {
    let readers = PlainReaders::new(list);
    let mut wrong = Vec::new();
    for row in model.rows.iter().filter(|row| row.is_layer()) {
        let module = row.name.trim_end_matches(".weight");
        let inner = row.parameter.as_deref().map(|p| p.trim_end_matches(".weight"));
        for path in [Some(module), inner].into_iter().flatten() {
            if readers.all(path) != [!converted.contains(&row.name); 4] {
                wrong.push(format!("{}: {path} {:?}", model.name, readers.all(path)));
            }
        }
    }
    wrong
}

#[test]
fn every_reader_reads_the_list_alike() {
    let mut wrong = Vec::new();
    let mut models = 0;
    for version in [Version::V523, Version::V457, Version::V441] {
        for model in version.models() {
            models += 1;
            let (converted, list) = portable(&model, Mode::Table);
            let wrong_here = disagreements(&model, &converted, &list);
            if let Some(first) = wrong_here.first() {
                wrong.push(format!("{version:?} {} of {}: {first}", wrong_here.len(), model.rows.len()));
            }
            let unique: HashSet<&String> = list.iter().collect();
            assert_eq!(unique.len(), list.len(), "{}: an entry stands twice", model.name);
            for entry in &list {
                let last = entry.rsplit('.').next().unwrap();
                assert!(!last.bytes().all(|b| b.is_ascii_digit()), "{}: {entry}", model.name);
            }
        }
    }
    println!("{models} models, {} wrong", wrong.len());
    wrong.iter().for_each(|w| println!("  {w}"));
    assert!(wrong.is_empty());
}

#[test]
fn nothing_is_converted_that_a_version_would_not_convert() {
    let mut golden: BTreeMap<String, HashMap<String, bool>> = BTreeMap::new();
    for version in [Version::V523, Version::V457] {
        for model in version.models() {
            let rows = golden.entry(model.name.clone()).or_default();
            for row in &model.rows {
                let both = rows.get(&row.name).copied().unwrap_or(true) && row.converted;
                rows.insert(row.name.clone(), both);
            }
        }
    }
    let (mut possible, mut done) = (0, 0);
    let mut fewer: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for version in [Version::V523, Version::V457] {
        for model in version.models() {
            let (converted, _) = portable(&model, Mode::Table);
            let golden = &golden[&model.name];
            for name in &converted {
                assert!(golden[name], "{}: {name}", model.name);
            }
            let both = model.rows.iter().filter(|row| golden[&row.name]).count();
            possible += both;
            done += converted.len();
            if converted.len() < both {
                fewer.insert(model.name.clone(), (converted.len(), both));
            }
        }
    }
    println!("{done} of {possible} tensors that both convert");
    println!("{fewer:?}");
    assert!(done as f64 > 0.95 * possible as f64);
}
