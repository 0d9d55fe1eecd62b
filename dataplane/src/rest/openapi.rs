//! Serves the OpenAPI document, which is written by hand and tested against the route table.

use std::sync::{Arc, LazyLock};

use http::HeaderMap;

use crate::http::{
    cache::CachePolicy,
    reply::{self, Document, Reply, Text},
};

static TEXT: LazyLock<Arc<Text>> =
    LazyLock::new(|| Arc::new(Text::new(include_str!("openapi.json"))));

pub(crate) fn serve(request: &HeaderMap) -> Reply {
    let document = Document {
        content_type: "application/json",
        cache: CachePolicy::Seconds(60).header(false),
        text: TEXT.clone(),
    };
    reply::document(request, &document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn document_lists_exactly_the_routes() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut listed = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                listed.insert((path.clone(), method.to_uppercase()));
            }
        }
        let mut served = BTreeSet::new();
        for (path, allow) in crate::route::table() {
            // The document does not list HEAD where there is a GET.
            let alone = !allow.starts_with("GET");
            for method in allow.split(", ").filter(|method| *method != "HEAD" || alone) {
                served.insert((path.to_owned(), method.to_owned()));
            }
            // A route of tus replies to OPTIONS with more than its methods, for discovery by
            // clients.
            if path.starts_with("/api/uploads") {
                served.insert((path.to_owned(), "OPTIONS".to_owned()));
            }
        }
        assert_eq!(listed, served);
    }

    #[test]
    fn every_reference_resolves() {
        let text = include_str!("openapi.json");
        let document: Value = serde_json::from_str(text).unwrap();
        for reference in text.split("\"$ref\": \"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn every_error_code_is_in_the_document() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let codes: Vec<&str> = api::code::Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(*listed, serde_json::json!(codes));
    }

    /// Client generators need a name for each operation, all path parameters, and each status
    /// listed separately.
    #[test]
    fn every_operation_lists_its_parameters_and_responses() {
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let shared = item["parameters"].as_array().cloned().unwrap_or_default();
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let place = format!("{method} {path}");
                let name = operation["operationId"].as_str().unwrap_or_default();
                assert!(!name.is_empty() && names.insert(name.to_owned()), "{place}: operationId");
                assert!(operation["summary"].is_string() && operation["security"].is_array());
                let own = operation["parameters"].as_array().cloned().unwrap_or_default();
                let declared = |name: &str| {
                    shared.iter().chain(&own).any(|p| p["name"] == name && p["in"] == "path")
                };
                for part in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
                    assert!(declared(part), "{place}: {part}");
                }
                let taken = &operation["requestBody"]["content"]["application/json"];
                assert!(taken.is_null() || taken["example"].is_object(), "{place}: example");
                let answers = operation["responses"].as_object().unwrap();
                assert!(!answers.contains_key("default"), "{place}: list the statuses");
                let bearer = operation["security"][0].get("bearer").is_some();
                assert!(!bearer || answers.contains_key("401"), "{place}: 401");
            }
        }
    }
}
