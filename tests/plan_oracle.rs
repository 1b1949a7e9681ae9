//! Plans against what transformers itself does: golden data made by instantiating some 400 model types
//! in 5.23.0, 4.57.6 and 4.41.2 and asking which modules became `Linear4bit`.

mod oracle;

use fourbit::plan::{Action, Mode, Plan, PlanOptions, Profile};
use oracle::{Model, Version, is_language_task};

/// Model types that are planned as in the golden data, and the number of all.
#[derive(Default, Debug, PartialEq, Eq, Clone, Copy)]
struct Score {
    exact: usize,
    all: usize,
    wrong: usize,
}

struct Outcome {
    language: Score,
    other: Score,
    mistakes: Vec<String>,
    /// Converted here, not by transformers.
    unsafe_tensors: usize,
}

fn plan(model: &Model, profile: Profile, mode: Mode) -> Plan {
    let options = PlanOptions { profile, ..PlanOptions::default() };
    let plan = Plan::new(&model.config(mode), &model.sources(), &options).unwrap();
    assert_eq!(plan.mode, mode, "{}", model.name);
    plan
}

fn compare(version: Version, profile: Profile, mode: Mode) -> Outcome {
    let mut outcome = Outcome {
        language: Score::default(),
        other: Score::default(),
        mistakes: Vec::new(),
        unsafe_tensors: 0,
    };
    for model in version.models() {
        let plan = plan(&model, profile, mode);
        let score = if is_language_task(&model.task) { &mut outcome.language } else { &mut outcome.other };
        score.all += 1;
        let mut wrong = 0;
        for row in &model.rows {
            let converted = matches!(plan.find(&row.name).unwrap().action, Action::Quantize { .. });
            if converted != row.converted {
                wrong += 1;
                outcome.unsafe_tensors += usize::from(converted);
                if wrong == 1 {
                    outcome.mistakes.push(format!("{}: {}", model.name, row.name));
                }
            }
        }
        score.exact += usize::from(wrong == 0);
        score.wrong += wrong;
    }
    println!(
        "{version:?} {profile:?} {mode:?}: language {}/{} other {}/{}, wrong tensors {} + {}, unsafe {}",
        outcome.language.exact,
        outcome.language.all,
        outcome.other.exact,
        outcome.other.all,
        outcome.language.wrong,
        outcome.other.wrong,
        outcome.unsafe_tensors
    );
    println!("  {:?}", outcome.mistakes);
    outcome
}

/// The architectures that must never be wrong.
#[test]
fn the_common_ones_by_name() {
    let common = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt2", "opt", "bert", "t5"];
    let versions =
        [(Version::V523, Profile::V5), (Version::V457, Profile::V4), (Version::V441, Profile::V441)];
    for (version, profile) in versions {
        let models = version.models();
        for model in models.iter().filter(|m| common.contains(&m.name.as_str())) {
            let plan = plan(model, profile, Mode::Table);
            for row in &model.rows {
                let converted = matches!(plan.find(&row.name).unwrap().action, Action::Quantize { .. });
                assert_eq!(converted, row.converted, "{version:?} {}: {}", model.name, row.name);
            }
        }
        // gemma2, qwen3 came after 4.41; the golden data is a part of all types.
        let found = models.iter().filter(|m| common.contains(&m.name.as_str())).count();
        println!("{version:?}: {found} of {}", common.len());
        assert!(found >= 5, "{version:?}: {found}");
    }
}

#[test]
fn table_5_23() {
    let got = compare(Version::V523, Profile::V5, Mode::Table);
    assert!(got.language.exact >= 201 && got.language.all == 201, "{:?}", got.mistakes);
    assert!(got.other.exact >= 192 && got.other.all == 193, "{:?}", got.mistakes);
}

#[test]
fn table_4_57() {
    let got = compare(Version::V457, Profile::V4, Mode::Table);
    assert!(got.language.exact >= 139 && got.language.all == 139, "{:?}", got.mistakes);
    assert!(got.other.exact >= 116 && got.other.all == 116, "{:?}", got.mistakes);
}

#[test]
fn table_4_41() {
    let got = compare(Version::V441, Profile::V441, Mode::Table);
    assert!(got.language.exact >= 72 && got.language.all == 72, "{:?}", got.mistakes);
    assert!(got.other.exact >= 81 && got.other.all == 81, "{:?}", got.mistakes);
}

#[test]
fn generic() {
    let got = compare(Version::V523, Profile::V5, Mode::Generic);
    assert!(got.language.exact >= 182 && got.other.exact >= 145, "{:?}", got.mistakes);
    let got = compare(Version::V457, Profile::V4, Mode::Generic);
    assert!(got.language.exact >= 108 && got.other.exact >= 41, "{:?}", got.mistakes);
    let got = compare(Version::V441, Profile::V441, Mode::Generic);
    assert!(got.language.exact >= 54 && got.other.exact >= 22, "{:?}", got.mistakes);
}

#[test]
fn other_classes() {
    let got = compare(Version::Classes523, Profile::V5, Mode::Table);
    assert!(got.other.exact >= 280 && got.other.all == 281, "{:?}", got.mistakes);
    let got = compare(Version::Classes457, Profile::V4, Mode::Table);
    assert!(got.other.exact >= 275 && got.other.all == 282, "{:?}", got.mistakes);
}
