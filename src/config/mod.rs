//! placeholder until the config room lands
pub mod python_json;
