/* SPDX-License-Identifier: MIT */
/*
 * The result of a check as a JUnit test suite: a test case for each site that leaks, or one that
 * passes. The attributes and elements, and their order, are those of Apache Ant's schema, the
 * strictest of those that readers go by.
 */
#include <errno.h>
#include <inttypes.h>
#include <libxml/xmlwriter.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report/format.h"
#include "report/results.h"

static void attribute(xmlTextWriterPtr xml, const char *name, const char *value)
{
	char *clean = lp_clean_text(value);

	if (clean)
		xmlTextWriterWriteAttribute(xml, BAD_CAST name, BAD_CAST clean);
	free(clean);
}

static void number(xmlTextWriterPtr xml, const char *name, uint64_t value)
{
	xmlTextWriterWriteFormatAttribute(xml, BAD_CAST name, "%" PRIu64, value);
}

static void text(xmlTextWriterPtr xml, const char *value)
{
	char *clean = lp_clean_text(value);

	if (clean)
		xmlTextWriterWriteString(xml, BAD_CAST clean);
	free(clean);
}

static void begin_case(xmlTextWriterPtr xml, const char *name, const char *class, double seconds)
{
	xmlTextWriterStartElement(xml, BAD_CAST "testcase");
	attribute(xml, "name", name);
	attribute(xml, "classname", class);
	xmlTextWriterWriteFormatAttribute(xml, BAD_CAST "time", "%.3f", seconds);
}

static void outcome(xmlTextWriterPtr xml, const char *element, const char *type,
		    const char *message, const char *body)
{
	xmlTextWriterStartElement(xml, BAD_CAST element);
	attribute(xml, "message", message);
	attribute(xml, "type", type);
	text(xml, body);
	xmlTextWriterEndElement(xml);
}

static void write_failure(xmlTextWriterPtr xml, const struct lp_results *results,
			  const struct lp_finding *finding)
{
	char title[1024];
	char *body = NULL;
	size_t size;
	FILE *stream = open_memstream(&body, &size);

	lp_finding_title(finding, results->mode, title, sizeof(title));
	if (stream) {
		lp_site_text(finding->site, false, stream, false);
		fclose(stream);
	}
	begin_case(xml, title, finding->report->program, 0);
	outcome(xml, "failure", finding->site->wait, title, body ? body : "");
	xmlTextWriterEndElement(xml);
	free(body);
}

static void write_cases(xmlTextWriterPtr xml, const struct lp_results *results)
{
	size_t i;

	for (i = 0; i < results->failing; i++)
		write_failure(xml, results, &results->findings[i]);
	if (results->failing)
		return;
	begin_case(xml, "no leaked goroutines", results->command,
		   (double)results->duration_ns / 1e9);
	if (results->unmeasured)
		outcome(xml, "error", "unmeasured", results->unmeasured, results->unmeasured);
	xmlTextWriterEndElement(xml);
}

static void write_suite_attributes(xmlTextWriterPtr xml, const struct lp_results *results)
{
	time_t seconds = (time_t)(results->time_ns / 1000000000u);
	char host[256] = "localhost";
	char stamp[32];
	struct tm utc;

	gethostname(host, sizeof(host) - 1);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &utc));
	attribute(xml, "name", "leakprof");
	attribute(xml, "timestamp", stamp);
	attribute(xml, "hostname", host);
	number(xml, "tests", results->failing ? results->failing : 1);
	number(xml, "failures", results->failing);
	number(xml, "errors", results->unmeasured && !results->failing);
	xmlTextWriterWriteFormatAttribute(xml, BAD_CAST "time", "%.3f",
					  (double)results->duration_ns / 1e9);
}

static void write_suite(xmlTextWriterPtr xml, const struct lp_results *results)
{
	xmlTextWriterStartElement(xml, BAD_CAST "testsuite");
	write_suite_attributes(xml, results);
	xmlTextWriterStartElement(xml, BAD_CAST "properties");
	xmlTextWriterStartElement(xml, BAD_CAST "property");
	attribute(xml, "name", "command");
	attribute(xml, "value", results->command);
	xmlTextWriterEndElement(xml);
	xmlTextWriterEndElement(xml);
	write_cases(xml, results);
	xmlTextWriterWriteElement(xml, BAD_CAST "system-out", BAD_CAST "");
	xmlTextWriterWriteElement(xml, BAD_CAST "system-err", BAD_CAST "");
	xmlTextWriterEndElement(xml);
}

int lp_format_junit(const struct lp_results *results, FILE *file)
{
	xmlBufferPtr buffer = xmlBufferCreate();
	xmlTextWriterPtr xml = buffer ? xmlNewTextWriterMemory(buffer, 0) : NULL;
	int r = -ENOMEM;

	if (xml) {
		xmlTextWriterSetIndent(xml, 1);
		xmlTextWriterStartDocument(xml, NULL, "UTF-8", NULL);
		write_suite(xml, results);
		r = xmlTextWriterEndDocument(xml) < 0 ? -ENOMEM : 0;
		xmlFreeTextWriter(xml);
	}
	if (!r && fputs((const char *)xmlBufferContent(buffer), file) == EOF)
		r = -EIO;
	xmlBufferFree(buffer);
	return r;
}
