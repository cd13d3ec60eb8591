//! Tools, the choice among them, and the form of the answer.

use proto::inference::v1::{
    JsonObject, JsonSchema, ResponseFormat, Tool, ToolChoice, ToolChoiceMode, response_format::Format,
    tool_choice::Choice,
};

use super::error::ApiError;
use crate::json::{Field, Object};

pub(crate) fn tools(object: &mut Object<'_>) -> Result<Vec<Tool>, ApiError> {
    let Some(field) = object.take("tools") else { return Ok(Vec::new()) };
    field.array()?.into_iter().map(tool).collect()
}

fn tool(field: Field<'_>) -> Result<Tool, ApiError> {
    let mut object = field.object()?;
    only_functions(&object.require("type")?)?;
    let mut function = object.require("function")?.object()?;
    let tool = Tool {
        name: function.require("name")?.string()?,
        description: function.take("description").map_or(Ok(String::new()), |field| field.string())?,
        parameters_json_schema: function
            .take("parameters")
            .map_or(Ok(String::new()), |field| field.raw_object())?,
    };
    // No backend promises arguments that fit the schema, so that a caller who relies on it must know.
    function.only_neutral(&[("strict", &["false"])])?;
    function.finish()?;
    object.finish()?;
    Ok(tool)
}

fn only_functions(kind: &Field<'_>) -> Result<(), ApiError> {
    if kind.string()? == "function" {
        return Ok(());
    }
    Err(ApiError::unsupported(kind.path(), format!("{} is not supported but as \"function\"", kind.path())))
}

const MODES: &[(&str, ToolChoiceMode)] =
    &[("auto", ToolChoiceMode::Auto), ("none", ToolChoiceMode::None), ("required", ToolChoiceMode::Required)];

pub(super) fn tool_choice(object: &mut Object<'_>) -> Result<Option<ToolChoice>, ApiError> {
    let Some(field) = object.take("tool_choice") else { return Ok(None) };
    let choice = if field.is_string() {
        Choice::Mode(field.one_of(MODES)?.into())
    } else {
        let mut named = field.object()?;
        only_functions(&named.require("type")?)?;
        let mut function = named.require("function")?.object()?;
        let name = function.require("name")?.string()?;
        function.finish()?;
        named.finish()?;
        Choice::Function(name)
    };
    Ok(Some(ToolChoice { choice: Some(choice) }))
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Object,
    Schema,
}

const FORMS: &[(&str, Form)] =
    &[("text", Form::Text), ("json_object", Form::Object), ("json_schema", Form::Schema)];

pub(super) fn response_format(object: &mut Object<'_>) -> Result<Option<ResponseFormat>, ApiError> {
    let Some(field) = object.take("response_format") else { return Ok(None) };
    let mut object = field.object()?;
    let format = match object.require("type")?.one_of(FORMS)? {
        Form::Text => None,
        Form::Object => Some(Format::JsonObject(JsonObject {})),
        Form::Schema => Some(Format::JsonSchema(json_schema(object.require("json_schema")?)?)),
    };
    object.finish()?;
    Ok(format.map(|format| ResponseFormat { format: Some(format) }))
}

fn json_schema(field: Field<'_>) -> Result<JsonSchema, ApiError> {
    let mut object = field.object()?;
    let schema = JsonSchema {
        name: object.require("name")?.string()?,
        schema: object.require("schema")?.raw_object()?,
    };
    // The backends constrain the answer to the schema in any case, which satisfies both.
    object.take("strict").map_or(Ok(false), |field| field.boolean())?;
    object.only_neutral(&[("description", &[r#""""#])])?;
    object.finish()?;
    Ok(schema)
}
