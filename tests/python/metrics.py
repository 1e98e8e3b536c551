"""A foreign reader of metrics: parses what a gateway tells operators as strictly as OpenMetrics is written.

It reads the text from its standard input, and prints one line of JSON: for each family its `type`, and its `samples` as
pairs of labels and value, without a histogram's buckets. What is no OpenMetrics makes it fail.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def main():
    families = {}
    for family in text_string_to_metric_families(sys.stdin.read()):
        if family.name in families:
            sys.exit(f"{family.name} stands there twice")
        samples = [[each.labels, each.value] for each in family.samples if not each.name.endswith("_bucket")]
        families[family.name] = {"type": family.type, "samples": samples}
    print(json.dumps(families))


if __name__ == "__main__":
    main()
