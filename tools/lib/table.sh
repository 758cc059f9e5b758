# A table that a person can read in a terminal and that is Markdown too.
# shellcheck shell=bash

# table: tab-separated lines on standard input, the first of them the headings.
table() {
  awk -F '\t' '
    { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } if (NF > columns) columns = NF }
    END {
      for (row = 1; row <= NR; row++) {
        for (i = 1; i <= columns; i++) printf "| %-" width[i] "s ", cell[row, i]
        print "|"
        if (row > 1) continue
        for (i = 1; i <= columns; i++) { rule = sprintf("%" (width[i] + 2) "s", ""); gsub(" ", "-", rule); printf "|%s", rule }
        print "|"
      }
    }'
}
