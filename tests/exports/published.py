"""What the published schemas and templates ask for, in our words; `test_published.py` compares with the originals."""

SYMBIOTA = {  # column → longest text; github.com/Symbiota/Symbiota, config/schema/3.0/db_schema-3.0.sql
    "catalogNumber": 32,
    "occurrenceID": 255,
    "identifiedBy": 255,
    "dateIdentified": 45,
    "sciname": 255,
    "isCurrent": 2,
    "identificationVerificationStatus": 45,
    "identificationRemarks": 2000,
    "sourceIdentifier": 45,
}
SYMBIOTA_REQUIRED = (
    "identifiedBy",
    "dateIdentified",
    "sciname",
)  # and one identifier; "Importing Determinations", 2024

AGENT = {
    "type": "object",
    "required": ["@type"],
    "additionalProperties": False,
    "properties": {
        "@id": {"type": "string"},
        "@type": {"enum": ["schema:Person", "schema:SoftwareApplication"]},
        "schema:name": {"type": "string"},
        "ods:hasRoles": {"type": "array", "minItems": 1},
    },
}
DISSCO = {  # github.com/DiSSCo/openDS, developer-schema/annotation/0.4.0 and fdo-type/annotation/0.4.0 (Apache 2.0)
    "type": "object",
    "required": ["jobId", "annotations"],
    "additionalProperties": False,
    "properties": {
        "jobId": {"type": "string"},
        "annotations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["oa:motivation", "oa:hasTarget", "dcterms:creator", "dcterms:created"],
                "additionalProperties": False,
                "properties": {
                    "oa:motivation": {"enum": ["ods:adding", "oa:assessing", "oa:commenting"]},
                    "oa:motivatedBy": {"type": "string"},
                    "oa:hasTarget": {
                        "type": "object",
                        "required": ["@id", "@type", "dcterms:identifier", "ods:fdoType", "oa:hasSelector"],
                        "additionalProperties": False,
                        "properties": {
                            "@id": {"type": "string", "pattern": r"^https://(doi\.org|hdl\.handle\.net)/"},
                            "@type": {"const": "ods:DigitalSpecimen"},
                            "dcterms:identifier": {"type": "string"},
                            "ods:fdoType": {"type": "string"},
                            "oa:hasSelector": {
                                "type": "object",
                                "required": ["@type", "ods:class"],
                                "additionalProperties": False,
                                "properties": {
                                    "@type": {"const": "ods:ClassSelector"},
                                    "ods:class": {"type": "string"},
                                },
                            },
                        },
                    },
                    "oa:hasBody": {
                        "type": "object",
                        "required": ["@type", "oa:value"],
                        "additionalProperties": False,
                        "properties": {
                            "@type": {"const": "oa:TextualBody"},
                            "oa:value": {"type": "array", "items": {"type": "string"}},
                            "ods:score": {"type": "number", "minimum": 0, "maximum": 1},
                        },
                    },
                    "dcterms:creator": AGENT,
                    "dcterms:created": {
                        "type": "string",
                        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
                    },
                },
            },
        },
    },
}
DISSCO_IDENTIFICATION = {  # fdo-type/digital-specimen/0.4.0/schema/identification.json
    "type": "object",
    "required": ["@type", "ods:isVerifiedIdentification"],
    "additionalProperties": False,
    "properties": {
        "@type": {"const": "ods:Identification"},
        "dwc:identificationID": {"type": "string"},
        "ods:identificationType": {"enum": ["TaxonIdentification"]},
        "dwc:dateIdentified": {"type": "string"},
        "ods:isVerifiedIdentification": {"type": "boolean"},
        "dwc:identificationRemarks": {"type": "string"},
        "ods:hasAgents": {"type": "array", "items": AGENT},
        "ods:hasTaxonIdentifications": {
            "type": "array",
            "items": {"required": ["@type", "dwc:scientificName"]},
        },
    },
}
MOTIVATIONS = [  # www.w3.org/TR/annotation-model, section 3.3.5
    *("assessing", "bookmarking", "classifying", "commenting", "describing", "editing", "highlighting"),
    *("identifying", "linking", "moderating", "questioning", "replying", "tagging"),
]
W3C_ANNOTATION = {  # the MUSTs of www.w3.org/TR/annotation-model
    "type": "object",
    "required": ["id", "type", "target"],
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z]+:"},
        "type": {"const": "Annotation"},
        "motivation": {"enum": MOTIVATIONS},
        "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
        "target": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "string", "pattern": "^[a-z]+:"}},
        },
        "body": {
            "type": "array",
            "items": {"type": "object", "anyOf": [{"required": ["value"]}, {"required": ["schema:ratingValue"]}]},
        },
    },
}
W3C_COLLECTION = {
    "type": "object",
    "required": ["@context", "id", "type", "total", "first"],
    "properties": {
        "@context": {"contains": {"const": "http://www.w3.org/ns/anno.jsonld"}},
        "type": {"const": "AnnotationCollection"},
        "total": {"type": "integer"},
        "first": {
            "required": ["id", "type", "items"],
            "properties": {"type": {"const": "AnnotationPage"}, "items": {"items": W3C_ANNOTATION}},
        },
    },
}
