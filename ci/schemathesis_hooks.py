"""What schemathesis cannot know: how HL7 v2 travels."""

import schemathesis


@schemathesis.serializer("application/hl7-v2", "x-application/hl7-v2+er7")
def message(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.deserializer("application/hl7-v2")
def text(_context, response):
    return response.content.decode()
