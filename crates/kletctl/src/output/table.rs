//! Tables of objects: which columns, with what around them.

use jiff::Timestamp;
use klet_api::table::{self, Printer};
use serde_json::Value;

use crate::context::namespace_of;
use crate::kinds::Kind;

/// What to show of each object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) wide: bool,
    pub(crate) namespace: bool,
    pub(crate) labels: bool,
    /// Labels with a column of their own (`-L`).
    pub(crate) label_columns: Vec<String>,
    pub(crate) no_headers: bool,
    /// `pod/x` instead of `x`.
    pub(crate) kind_prefix: bool,
}

/// A table that grows as objects come.
#[derive(Debug)]
pub(crate) struct Table {
    kind: &'static Kind,
    shape: Shape,
    printer: Printer,
    header_due: bool,
}

impl Table {
    pub(crate) fn new(kind: &'static Kind, shape: &Shape) -> Self {
        let namespace = shape.namespace && kind.namespaced;
        let shape = Shape { namespace, ..shape.clone() };
        Table { kind, header_due: !shape.no_headers, shape, printer: Printer::new() }
    }

    /// The lines of these objects, under the header the first time.
    pub(crate) fn lines(&mut self, objects: &[Value], now: Timestamp) -> String {
        let mut lines = Vec::with_capacity(objects.len() + 1);
        if std::mem::take(&mut self.header_due) {
            lines.push(self.header());
        }
        lines.extend(objects.iter().map(|object| self.line(object, now)));
        self.printer.lines(&lines)
    }

    fn shown(&self) -> impl Iterator<Item = (usize, &'static table::Column)> + use<'_> {
        let columns = table::columns(self.kind.kind).iter().enumerate();
        columns.filter(|(_, column)| self.shape.wide || !column.wide)
    }

    fn header(&self) -> Vec<String> {
        let mut cells: Vec<String> = Vec::new();
        if self.shape.namespace {
            cells.push("NAMESPACE".to_owned());
        }
        cells.extend(self.shown().map(|(_, column)| column.name.to_uppercase()));
        let short = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        cells.extend(self.shape.label_columns.iter().map(short));
        if self.shape.labels {
            cells.push("LABELS".to_owned());
        }
        cells
    }

    fn line(&self, object: &Value, now: Timestamp) -> Vec<String> {
        let row = table::row(self.kind.kind, object, now);
        let mut cells = Vec::new();
        if self.shape.namespace {
            cells.push(namespace_of(object).to_owned());
        }
        for (index, column) in self.shown() {
            let cell = row.cells.get(index).cloned().unwrap_or_default();
            let prefixed = self.shape.kind_prefix && column.name == "Name";
            cells.push(if prefixed { format!("{}/{cell}", self.kind.label()) } else { cell });
        }
        let labels = object.pointer("/metadata/labels");
        cells.extend(self.shape.label_columns.iter().map(|label| {
            let value = labels.and_then(|labels| labels.get(label)).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        }));
        if self.shape.labels {
            cells.push(table::labels(labels));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_come_and_go_as_asked() {
        let object = json!({"metadata": {"name": "x", "namespace": "n",
            "labels": {"a": "1", "k/b": "2"}, "creationTimestamp": "2026-01-02T03:04:05Z"}});
        let now = "2026-01-02T03:04:10Z".parse().unwrap();
        let shape = Shape {
            namespace: true,
            labels: true,
            label_columns: vec!["k/b".to_owned(), "c".to_owned()],
            kind_prefix: true,
            ..Shape::default()
        };
        let mut table = Table::new(crate::kinds::of("ConfigMap").unwrap(), &shape);
        assert_eq!(
            table.lines(std::slice::from_ref(&object), now),
            "NAMESPACE   NAME          DATA   AGE   B     C     LABELS\n\
             n           configmap/x   0      5s    2           a=1,k/b=2\n"
        );
        assert_eq!(
            table.lines(&[object], now),
            "n           configmap/x   0      5s    2           a=1,k/b=2\n"
        );
    }
}
