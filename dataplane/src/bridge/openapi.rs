//! The OpenAPI document: written by hand, proven against the route table.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use http::HeaderMap;

use crate::reply::{self, Document, Reply, Text};

static TEXT: LazyLock<Arc<Text>> =
    LazyLock::new(|| Arc::new(Text::new(include_str!("openapi.json"))));

/// Answers with the document.
pub(crate) fn serve(request: &HeaderMap) -> Reply {
    let document = Document {
        content_type: "application/json",
        cache: Cow::Borrowed("public, max-age=60"),
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
            for method in allow.split(", ").filter(|method| *method != "HEAD") {
                served.insert((path.to_owned(), method.to_owned()));
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
}
