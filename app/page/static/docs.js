// Swagger UI, told where this server's description lies, and to ask nobody else.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: document.currentScript.dataset.openapi,
  validatorUrl: null,
});
