//! Reading the golden plans.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;

use fourbit::dtype::DType;
use fourbit::plan::{Mode, SourceTensor};
use fourbit::shape::Shape;
use serde_json::{Value, json};

/// The transformers release a file was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V523,
    V457,
    V441,
    /// 5.23, other classes of common model types than those of the table.
    Classes523,
    /// The same for 4.57.
    Classes457,
}

pub struct Row {
    pub name: String,
    pub converted: bool,
    pub class: String,
    pub shape: Shape,
    /// Path of the parameter inside the model, where it is not the tensor's name.
    pub parameter: Option<String>,
}

impl Row {
    pub fn is_layer(&self) -> bool {
        matches!(self.class.as_str(), "Linear" | "Conv1D")
            && self.name.ends_with(".weight")
            && self.shape.matrix().is_some()
    }
}

pub struct Model {
    pub name: String,
    pub task: String,
    pub rows: Vec<Row>,
    config: Value,
}

impl Version {
    pub fn models(self) -> Vec<Model> {
        let file = match self {
            Version::V523 => "plan_5.23.0.json",
            Version::V457 => "plan_4.57.6.json",
            Version::V441 => "plan_4.41.2.json",
            Version::Classes523 => "classes_5.23.0.json",
            Version::Classes457 => "classes_4.57.6.json",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(file);
        let data = fourbit::config::parse_json(&std::fs::read(path).unwrap(), file).unwrap();
        data["models"].as_object().unwrap().iter().map(|(name, m)| Model::read(name, m)).collect()
    }
}

impl Model {
    fn read(name: &str, m: &Value) -> Model {
        let mut config = m["config"].clone();
        if config["model_type"].is_null() || m["task"] != "variant" {
            config["model_type"] = json!(name);
        }
        config["architectures"] = json!([m["arch"]]);
        if !m["tie"].is_null() {
            config["tie_word_embeddings"] = m["tie"].clone();
            for key in ["text_config", "decoder", "generator", "text_encoder", "thinker_config"] {
                if config[key].is_object() {
                    config[key]["tie_word_embeddings"] = m["tie"].clone();
                }
            }
        }
        let rows = m["tensors"].as_object().unwrap().iter().filter_map(|(name, row)| read_row(name, row));
        Model {
            name: name.to_owned(),
            task: m["task"].as_str().unwrap().to_owned(),
            rows: rows.collect(),
            config,
        }
    }

    pub fn config(&self, mode: Mode) -> Value {
        let mut config = self.config.clone();
        if mode == Mode::Generic {
            config["model_type"] = json!("a type that nobody knows");
        }
        config
    }

    pub fn sources(&self) -> Vec<SourceTensor> {
        let source =
            |row: &Row| SourceTensor { name: row.name.clone(), dtype: DType::Bf16, shape: row.shape };
        self.rows.iter().map(source).collect()
    }
}

fn read_row(name: &str, row: &Value) -> Option<Row> {
    let class = row[1].as_str().unwrap().to_owned();
    // Rows that could not be traced to a module say nothing.
    (class != "?").then(|| Row {
        name: name.to_owned(),
        converted: row[0].as_u64() == Some(1),
        class,
        shape: Shape::new(
            &row[2].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect::<Vec<_>>(),
        )
        .unwrap(),
        parameter: row[3].as_str().filter(|p| !p.is_empty()).map(str::to_owned),
    })
}

/// Causal and sequence-to-sequence language models, image-text-to-text, multimodal, speech-to-text.
pub fn is_language_task(task: &str) -> bool {
    [
        "MODEL_FOR_CAUSAL_LM_MAPPING",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
        "MODEL_FOR_MULTIMODAL_LM_MAPPING",
        "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
        "MODEL_FOR_VISION_2_SEQ_MAPPING",
    ]
    .contains(&task)
}
