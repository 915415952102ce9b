"""HTTP connections of urllib3 on which an answer belongs to its request, and to nothing else.

`responses` reads the one final answer of a request, `chunked_body` what a chunked body is made of,
`connections` decides whether a connection may carry another request.
"""
